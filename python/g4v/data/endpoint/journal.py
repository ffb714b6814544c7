"""An append-only file of JSON lines; each line is on disk before work goes on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
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


def answer_key(body: dict[str, Any], attempt: int) -> str:
    """The key of an answer in the journal: a hash of the request's body and the number of the try, from 0."""
    text = json.dumps([body, attempt], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def answers_of(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The answers of a journal by their keys."""
    return {r["key"]: r for r in records if r.get("type") == "answer" and isinstance(r.get("key"), str)}


def cost(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Requests and tokens of all runs that wrote these records."""
    answers = [r for r in records if r.get("type") == "answer"]
    failures = Counter(str(r.get("reason")) for r in records if r.get("type") == "failure")

    def total(name: str) -> int:
        return sum(r[name] for r in records if isinstance(r.get(name), int))

    return {
        "answers": len(answers),
        "failed_requests": dict(failures.most_common()),
        "prompt_tokens": total("prompt_tokens"),
        "completion_tokens": total("completion_tokens"),
        "estimated_tokens": total("estimated_tokens"),
        "models": sorted({str(r["model"]) for r in answers if r.get("model")}),
    }


def spent(records: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """(requests, tokens) of all runs so far, for the budget."""
    figures = cost(records)
    tokens = figures["prompt_tokens"] + figures["completion_tokens"] + figures["estimated_tokens"]
    batches = sum(r.get("type") == "embedding" and bool(r.get("prompt_tokens")) for r in records)
    return figures["answers"] + sum(figures["failed_requests"].values()) + batches, tokens
