"""JSON files of rows, with the line of every row.

The rows are decoded one by one, which costs little more than decoding the file as a whole and tells where
each of them starts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.data.formats.problems import DataError, Problem

MAX_BYTES = 2 << 30
"""Larger JSON files are refused; they would need many times that memory."""
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class Row:
    """One value of an array. line: counted from 1. index: its place, from 0."""

    line: int
    index: int
    value: Any


class DoubledKeys(dict[str, Any]):
    """An object in which a key stands twice; the last value counts."""

    doubled = ""


@dataclass(frozen=True)
class Document:
    """A JSON file of rows.

    rows: of a file that is an array, else None. members: of a file that is an object, with their lines;
    arrays among them are lists of `Row`. doubled: keys that stand twice, with the line of the later one.
    """

    rows: list[Row] | None
    members: dict[str, Row]
    doubled: list[tuple[str, int]]


def decoder() -> json.JSONDecoder:
    """A JSON decoder that keeps doubled keys apart and does not fail at numbers of any length."""
    # Python refuses integers of thousands of digits with an error of its own; as numbers they are infinite.
    return json.JSONDecoder(
        object_pairs_hook=_object, parse_int=lambda digits: int(digits) if len(digits) < 20 else float(digits)
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = DoubledKeys(found)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            marked.doubled = key
        seen.add(key)
    return marked


def read_text(path: Path) -> str:
    """The whole file. Raises `DataError` where it is too large or not UTF-8."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(
            Problem(path, f"is {size / 2**30:.1f} GiB; JSON is read whole, up to {MAX_BYTES / 2**30:g} GiB")
        )
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(Problem(path, f"is not UTF-8 (byte 0x{data[error.start]:02x})", line)) from None


def read_document(path: Path) -> Document:
    """Reads a JSON file of rows. `DataError`, with the line: it is no JSON, or no array or object."""
    walker = _Walker(path, read_text(path))
    try:
        return walker.document()
    except json.JSONDecodeError as error:
        reason = f"is not valid JSON: {error.msg} (column {error.colno})"
        raise DataError(Problem(path, reason, error.lineno)) from None
    except RecursionError:
        raise DataError(Problem(path, "is nested too deeply", walker.line)) from None


class _Walker:
    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.place = self.counted = 0
        self.line = 1
        self._decoder = decoder()

    def document(self) -> Document:
        members: dict[str, Row] = {}
        doubled: list[tuple[str, int]] = []
        rows: list[Row] | None = None
        if self._peek() == "[":
            rows = self._array()
        elif self._peek() == "{":
            for index, key in enumerate(self._keys()):
                if key in members:
                    doubled.append((key, self.line))
                line = self.line
                value = self._array() if self._peek() == "[" else self._value()
                members[key] = Row(line, index, value)
        else:
            raise DataError(Problem(self.path, "is neither a JSON array nor a JSON object", self.line))
        if self._peek():
            self._fail("something follows after the end")
        return Document(rows, members, doubled)

    def _array(self) -> list[Row]:
        rows: list[Row] = []
        self.place += 1
        if self._take("]"):
            return rows
        while True:
            self._peek()
            line = self.line
            rows.append(Row(line, len(rows), self._value()))
            if self._take("]"):
                return rows
            self._expect(",")

    def _keys(self) -> Any:
        self.place += 1
        if self._take("}"):
            return
        while True:
            if self._peek() != '"':
                self._fail("a key in double quotes is expected")
            key = self._value()
            self._expect(":")
            self._peek()
            yield key
            if self._take("}"):
                return
            self._expect(",")

    def _value(self) -> Any:
        value, self.place = self._decoder.raw_decode(self.text, self.place)
        return value

    def _peek(self) -> str:
        """The next character that is not white space ("" at the end); `line` becomes its line."""
        match = _SPACE.match(self.text, self.place)
        assert match is not None
        self.place = match.end()
        self.line += self.text.count("\n", self.counted, self.place)
        self.counted = self.place
        return self.text[self.place : self.place + 1]

    def _take(self, sign: str) -> bool:
        if self._peek() != sign:
            return False
        self.place += 1
        return True

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            self._fail(f"{sign!r} is expected")

    def _fail(self, reason: str) -> None:
        raise json.JSONDecodeError(reason, self.text, self.place)
