"""Files of users and generated videos on disk, with what is known of them.

Each has a record ID.json and, once there, its bytes ID.bin or ID.mp4, both written under another name and
then renamed, readable by this user alone. An id has 128 random bits. One server has a folder at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..._files import atomic, read_json
from ...errors import ArgumentError, OutputError
from ..base.errors import ApiError
from ..base.logs import log

Record = dict[str, Any]
"""id, kind ("file", "video"), owner, bytes, created_at, expires_at, and what its kind adds."""

_ID = re.compile(r"(file-|video_)[0-9a-f]{32}")
OURS = re.compile(r"\.?(file-|video_)[0-9a-f]{32}\.(json|bin|mp4)(\..*\.tmp)?")
_PREFIX = {"file": "file-", "video": "video_"}
_SUFFIX = {"file": ".bin", "video": ".mp4"}
UNFINISHED = ("queued", "in_progress")


def lost(record: Record) -> None:
    """Says in the record of a video that its server ended before it was made."""
    error = {"code": "server_restarted", "message": "the server ended before the video was made"}
    record |= {"status": "failed", "error": error}


class MediaStore:
    """Records by id, in the order of their making. Used by one thread but for the methods that say otherwise.

    ttl: seconds that something is kept. budget: bytes of all; the oldest make room for new ones.
    OutputError: the folder cannot be written. ArgumentError: another server has it.
    """

    shared = False  # whether other servers read what is saved

    def __init__(self, folder: Path, ttl: float, budget: int) -> None:
        self._folder, self.ttl, self._budget = folder, ttl, budget
        self._records: dict[str, Record] = {}
        self._lock = self._locked(fcntl.LOCK_EX, "another server uses it; name another folder")
        self._load()

    def _locked(self, kind: int, otherwise: str) -> int:
        """The folder's lock, held until it is closed. otherwise: why it cannot be had."""
        folder = self._folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise OutputError(f"--media-dir {folder}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ArgumentError(f"--media-dir {folder}: {otherwise}") from None
        return lock

    def close(self) -> None:
        """Lets another server have the folder."""
        os.close(self._lock)

    # Records.

    def new(self, kind: str, owner: str, **values: Any) -> Record:
        """A new record, not on disk yet."""
        now = time.time()
        record: Record = {"id": _PREFIX[kind] + secrets.token_hex(16), "kind": kind, "owner": owner}
        record |= {"bytes": 0, "created_at": int(now), "expires_at": int(now + self.ttl)} | values
        self._records[record["id"]] = record
        return record

    def find(self, identifier: str, kind: str, owner: str) -> Record | None:
        """The record of this id, if it is of this kind, of this owner, and has not expired."""
        record = self._records.get(identifier)
        if record is None or record["kind"] != kind or record["owner"] != owner or self._expired(record):
            return None
        return record

    def find_signed(self, identifier: str) -> Record | None:
        """The video of this id, whoever made it: for links that carry their own right."""
        record = self._records.get(identifier)
        return self.find(identifier, "video", record["owner"]) if record else None

    def all(self, kind: str, owner: str) -> list[Record]:
        """All records of this kind and owner, the oldest first."""
        mine = (r for r in self._records.values() if r["kind"] == kind and r["owner"] == owner)
        return [record for record in mine if not self._expired(record)]

    @property
    def total_bytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(record["bytes"] for record in self._records.values())

    def remove(self, record: Record) -> None:
        """Forgets a record and removes its files."""
        self._records.pop(record["id"], None)
        for path in (self.path(record), self._record_path(record)):
            with contextlib.suppress(OSError):
                path.unlink()

    def is_cancelled(self, record: Record) -> bool:
        """Whether another server was asked to remove a video that is being made here."""
        return False

    def sweep(self) -> None:
        """Removes what has expired."""
        for record in [r for r in self._records.values() if self._expired(r)]:
            self.remove(record)

    def make_room(self, size: int) -> None:
        """Removes the oldest things until `size` bytes fit. `ApiError` (413): they never fit."""
        if size > self._budget:
            raise ApiError(413, f"it has {size} bytes; the server keeps {self._budget}", "too_large")
        free = self._budget - self.total_bytes
        for record in list(self._records.values()):
            if free >= size:
                return
            if record.get("status") not in UNFINISHED and record["bytes"]:
                free += record["bytes"]
                self.remove(record)

    # Files; these may be called from any thread.

    def path(self, record: Record) -> Path:
        """Where its bytes are."""
        return self._folder / (record["id"] + _SUFFIX[record["kind"]])

    @contextlib.contextmanager
    def writing(self, record: Record) -> Iterator[Path]:
        """Gives a path to write its bytes to; they are there when the block ends. `OutputError`."""
        with atomic(self.path(record)) as temporary:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            yield temporary

    def save(self, record: Record) -> None:
        """Writes the record. `OutputError`."""
        with atomic(self._record_path(record)) as temporary:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(record, file)
        if record["id"] not in self._records:  # removed meanwhile
            self.remove(record)

    def secret(self) -> bytes:
        """32 random bytes that stay the same for this folder. `OutputError`."""
        path = self._folder / ".secret"
        with contextlib.suppress(OSError):
            if len(kept := path.read_bytes()) == 32:
                return kept
        made = secrets.token_bytes(32)
        with atomic(path) as temporary:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(made)
        return made

    # Inside.

    def _record_path(self, record: Record) -> Path:
        return self._folder / f"{record['id']}.json"

    @staticmethod
    def _expired(record: Record) -> bool:
        return bool(record["expires_at"] <= time.time() and record.get("status") not in UNFINISHED)

    def _load(self) -> None:
        """Reads the records that are there. What a server that ended left half done is failed or removed."""
        found = []
        for path in self._folder.iterdir():
            if not OURS.fullmatch(path.name):
                continue
            if path.suffix == ".json":
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    found.append(self._checked(read_json(path), path))
        for record in sorted(found, key=lambda r: (r["created_at"], r["id"])):
            self._records[record["id"]] = record
            if record.get("status") in UNFINISHED:
                lost(record)
                self.save(record)
        for path in self._folder.iterdir():
            if OURS.fullmatch(path.name) and path.name.partition(".")[0] not in self._records:
                log("media", removed=path.name, reason="without a record that can be read")
                path.unlink()
        self.sweep()

    def _checked(self, record: Record, path: Path) -> Record:
        """The record, with the true size. KeyError, TypeError, ValueError: it is none."""
        match = _ID.fullmatch(path.stem)
        if record["id"] != path.stem or match is None or match[1] != _PREFIX[record["kind"]]:
            raise ValueError("another file's record")
        for name in ("created_at", "expires_at", "bytes"):
            record[name] = int(record[name])
        record["owner"], data = str(record["owner"]), self.path(record)
        complete = record["kind"] == "file" or record["status"] == "completed"
        if complete and not data.is_file():
            raise ValueError("its bytes are gone")
        record["bytes"] = data.stat().st_size if complete else 0
        return record
