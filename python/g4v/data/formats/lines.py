"""CSV and JSON-lines files, read as a stream with exact line numbers.

A bad row costs itself alone: a quote that is never closed does not swallow the lines after it, and a line
without end is not kept in memory.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from g4v.data.formats.json_file import Row, decoder
from g4v.data.formats.problems import DataError, Problem, Problems, RowError

MAX_LINE = 1 << 20
"""Bytes of one line."""
MAX_ROW_LINES = 64
"""Lines of one CSV row (a quoted text may have several)."""
_BOM = b"\xef\xbb\xbf"


class _Lines:
    """The lines of a file as an iterator that goes on after an error and can take lines back.

    Bytes that are not UTF-8 become lone surrogates, which no text of a row may contain.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._back: deque[str | None] = deque()
        self._taken: list[str | None] = []
        self.number = 0  # of the line that was handed out last

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if len(self._taken) == MAX_ROW_LINES:
            raise RowError(f"a quote that opens here is not closed within {MAX_ROW_LINES} lines")
        line = self._back.popleft() if self._back else self._read()
        self.number += 1
        self._taken.append(line)
        if line is None:
            raise RowError(f"the line is longer than {MAX_LINE:,} bytes")
        return line

    def _read(self) -> str | None:
        raw = self._file.readline(MAX_LINE + 1)
        if not raw:
            raise StopIteration
        too_long = len(raw) > MAX_LINE
        while len(raw) > MAX_LINE and not raw.endswith(b"\n"):
            raw = self._file.readline(MAX_LINE + 1)
        if self.number == 0:
            raw = raw.removeprefix(_BOM)
        return None if too_long else raw.decode("utf-8", "surrogateescape")

    def start_row(self) -> int:
        """Forgets the lines of the last row; returns the number of the next line."""
        self._taken.clear()
        return self.number + 1

    def give_back(self) -> None:
        """Hands out the lines of this row again, but not its first."""
        self._back.extendleft(reversed(self._taken[1:]))
        self.number -= max(len(self._taken) - 1, 0)
        self._taken.clear()


def csv_header(path: Path) -> list[str]:
    """The column names. Raises `DataError` where the first line is no list of different names."""
    with path.open("rb") as file:
        lines = _Lines(file)
        try:
            names = [name.strip() for name in next(csv.reader(lines, strict=True), [])]
            "".join(names).encode("utf-8")
        except (csv.Error, RowError) as error:
            raise DataError(Problem(path, f"has no CSV header: {error}", 1)) from None
        except UnicodeEncodeError:
            raise DataError(Problem(path, "is not UTF-8", 1)) from None
    if len(set(names)) != len(names):
        raise DataError(Problem(path, "has a column twice in its header", 1))
    return names


def csv_rows(path: Path, problems: Problems) -> Iterator[Row]:
    """The rows below the header; each value is a dict of texts by column name."""
    with path.open("rb") as file:
        lines = _Lines(file)
        reader = csv.reader(lines, strict=True)
        names = [name.strip() for name in next(reader)]
        index = -1
        while True:
            line = lines.start_row()
            try:
                fields = next(reader)
            except StopIteration:
                return
            except (csv.Error, RowError) as error:
                index += 1
                lines.give_back()
                problems.add(f"is not a CSV row: {error}", line, index)
                continue
            if not fields:
                continue
            index += 1
            if len(fields) != len(names):
                reason = f"has {len(fields)} columns; the header has {len(names)}"
                problems.add(reason, line, index)
                continue
            yield Row(line, index, dict(zip(names, fields, strict=True)))


def jsonl_rows(path: Path, problems: Problems) -> Iterator[Row]:
    """The values of a file with one JSON value in each line; empty lines are passed over."""
    with path.open("rb") as file:
        lines = _Lines(file)
        decode = decoder().decode
        index = -1
        while True:
            number = lines.start_row()
            try:
                line = next(lines)
                if not line.strip():
                    continue
                value = json_value(line, decode)
            except StopIteration:
                return
            except RowError as error:
                index += 1
                problems.add(str(error), number, index)
                continue
            index += 1
            yield Row(number, index, value)


def json_value(line: str, decode: Any) -> Any:
    """The JSON value of a line. decode: a decoder's `decode`. Raises `RowError`."""
    try:
        line.encode("utf-8")
        return decode(line)
    except UnicodeEncodeError:
        raise RowError("the line is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise RowError(f"is not valid JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise RowError("is nested too deeply") from None
