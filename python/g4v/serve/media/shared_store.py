"""A media folder that several servers use at once: on one machine, or on a file system with locks (NFSv4).

Each server writes the records of what was sent to it, or is made by it, and reads those of the others when
somebody asks for them. Beside what `MediaStore` has there are three kinds of files: `.server-TOKEN`, which a
server holds locked as long as it lives; ID.cancel, which asks the server that makes a video to stop; and
`.starting`, which is locked while a server looks through the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from ..._files import read_json
from ...errors import ArgumentError, OutputError
from ..base.logs import log
from .store import OURS, UNFINISHED, MediaStore, Record, lost

_STRAY = 3600.0  # seconds after which a file without a record was left behind by a server that ended


class SharedMediaStore(MediaStore):
    """As `MediaStore`; records have "server", the token of the one that wrote them.

    A record of another server is what it was when the folder was last looked at. One that another server has
    not finished and never will, since that server has ended, is "failed".
    """

    shared = True

    def __init__(self, folder: Path, ttl: float, budget: int) -> None:
        self._folder, self.ttl, self._budget = folder, ttl, budget
        self._records: dict[str, Record] = {}
        self._seen: dict[str, int] = {}  # id of another server's record -> time of its file, ns
        self._saved: set[str] = set()  # ids of this server's records on disk
        self._token = secrets.token_hex(8)
        self._lock = self._locked(fcntl.LOCK_SH, "another server has it alone; give both --share-media-dir")
        try:
            with self._starting():
                self._alive = self._sign()
                self._load()
                self.secret()  # made by one server
        except OSError as error:
            os.close(self._lock)
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"--media-dir {folder}: cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Tells the others that this server has ended."""
        with contextlib.suppress(OSError):
            self._sign_of(self._token).unlink()
        os.close(self._alive)
        super().close()

    # Records.

    def new(self, kind: str, owner: str, **values: object) -> Record:
        """A new record of this server, not on disk yet."""
        record = super().new(kind, owner, **values)
        record["server"] = self._token
        return record

    def find(self, identifier: str, kind: str, owner: str) -> Record | None:
        """The record of this id, whichever server wrote it."""
        self._look(identifier)
        return super().find(identifier, kind, owner)

    def find_signed(self, identifier: str) -> Record | None:
        """The video of this id, whoever made it."""
        self._look(identifier)
        return super().find_signed(identifier)

    def all(self, kind: str, owner: str) -> list[Record]:
        """All records of this kind and owner, the oldest first."""
        self._look_at_all()
        return sorted(super().all(kind, owner), key=lambda record: (record["created_at"], record["id"]))

    def remove(self, record: Record) -> None:
        """Removes a record and its files; a video that another server makes is stopped by that server."""
        if record.get("status") in UNFINISHED and record.get("server") != self._token:
            self._records.pop(record["id"], None)
            with contextlib.suppress(OSError):
                os.close(os.open(self._marker(record["id"]), os.O_WRONLY | os.O_CREAT, 0o600))
            return
        self._saved.discard(record["id"])
        super().remove(record)
        with contextlib.suppress(OSError):
            self._marker(record["id"]).unlink()

    def save(self, record: Record) -> None:
        """Writes the record. `OutputError`."""
        super().save(record)
        if record.get("server") == self._token and record["id"] in self._records:
            self._saved.add(record["id"])

    def is_cancelled(self, record: Record) -> bool:
        """Whether another server was asked to remove a video that is being made here."""
        return self._marker(record["id"]).exists()

    def sweep(self) -> None:
        """Removes what has expired."""
        self._look_at_all()
        super().sweep()

    def make_room(self, size: int) -> None:
        """Removes the oldest things of all servers until `size` bytes fit. `ApiError` (413)."""
        self._look_at_all()
        self._records = dict(sorted(self._records.items(), key=lambda item: item[1]["created_at"]))
        super().make_room(size)

    # Inside.

    def _look_at_all(self) -> None:
        for path in self._folder.glob("*.json"):
            self._look(path.stem)
        for identifier in [*self._seen, *self._saved]:
            self._look(identifier)

    def _look(self, identifier: str) -> None:
        """Reads another server's record again where it has changed, and forgets one that has gone."""
        if not OURS.fullmatch(f"{identifier}.json"):
            return
        known, path = self._records.get(identifier), self._folder / f"{identifier}.json"
        if known is not None and known.get("server") == self._token:
            if identifier in self._saved and not path.exists():  # removed by another server
                self._saved.discard(identifier)
                self._records.pop(identifier, None)
            elif known.get("status") not in UNFINISHED and self.is_cancelled(known):
                self.remove(known)  # it was done when another server was asked to remove it
            return
        try:
            changed = path.stat().st_mtime_ns
            if self._marker(identifier).exists():
                raise FileNotFoundError
        except OSError:
            self._records.pop(identifier, None)
            self._seen.pop(identifier, None)
            return
        if known is None or self._seen.get(identifier) != changed:
            try:
                known = self._checked(read_json(path), path)
            except (ArgumentError, KeyError, TypeError, ValueError):
                return  # it goes, or is none
            self._records[identifier], self._seen[identifier] = known, changed
        if known.get("status") in UNFINISHED and not self._lives(known.get("server")):
            lost(known)
            self.save(known)

    def _load(self) -> None:
        for token in [path.name.removeprefix(".server-") for path in self._folder.glob(".server-*")]:
            self._lives(token)  # else its file goes
        self._look_at_all()
        for path in self._folder.iterdir():
            identifier = path.name.lstrip(".").partition(".")[0]
            if OURS.fullmatch(path.name) and identifier not in self._records:
                with contextlib.suppress(OSError):  # another server removes it
                    if time.time() - path.stat().st_mtime > _STRAY:
                        path.unlink()
                        log("media", removed=path.name, reason="without a record that can be read")
        for marker in self._folder.glob("*.cancel"):
            if not (self._folder / f"{marker.stem}.json").exists():
                marker.unlink(missing_ok=True)
        super().sweep()

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        lock = os.open(self._folder / ".starting", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _sign(self) -> int:
        """This server's file, locked before it has its name."""
        path = self._folder / f".{self._token}.tmp"
        sign = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(sign, fcntl.LOCK_EX)
        path.rename(self._sign_of(self._token))
        return sign

    def _lives(self, token: object) -> bool:
        """Whether the server of this token has not ended; the file of one that has is removed."""
        if token == self._token:
            return True
        path = self._sign_of(token)
        try:
            sign = os.open(path, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(sign, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            return False
        except OSError:
            return True
        finally:
            os.close(sign)

    def _sign_of(self, token: object) -> Path:
        return self._folder / f".server-{token if str(token).isalnum() else 'none'}"

    def _marker(self, identifier: str) -> Path:
        return self._folder / f"{identifier}.cancel"
