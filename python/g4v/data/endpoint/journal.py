"""An append-only file of JSON lines; each line is on disk before work goes on."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from g4v.errors import ArgumentError, OutputError


class Journal:
    """Records of one run and of those before it. Use as a context manager.

    A line that a kill cut short is removed when the journal is opened. `damaged` counts whole lines that do
    not parse; they are left out. ArgumentError while another run has the journal open, OutputError where it
    cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.records: list[dict[str, Any]] = []
        self.damaged = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise ArgumentError(f"another run is writing to {path.parent}") from None
        whole = self._load()
        os.ftruncate(self._file, whole)
        os.lseek(self._file, whole, os.SEEK_SET)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def _load(self) -> int:
        self.records, self.damaged, whole = read_records(self._path)
        return whole

    def add(self, record: dict[str, Any]) -> None:
        """Appends a record and waits until the disk has it."""
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        try:
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}") from None
        self.records.append(record)


def read_records(path: Path) -> tuple[list[dict[str, Any]], int, int]:
    """(records, damaged lines, bytes of the whole lines) of a journal; nothing if it is missing."""
    records, damaged, whole = [], 0, 0
    try:
        with path.open("rb") as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    break
                whole += len(raw)
                try:
                    record = json.loads(raw)
                except (ValueError, RecursionError):
                    record = None
                if isinstance(record, dict):
                    records.append(record)
                else:
                    damaged += 1
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}") from None
    return records, damaged, whole
