"""What is wrong with a data file: one line each, with the place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from g4v.errors import ArgumentError

KEPT = 1000
"""Problems that are kept one by one; later ones are only counted."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file.

    line: counted from 1; None where the whole file is meant. row: the place in its array or among the data
    rows of a CSV file, counted from 0, or None.
    """

    file: Path
    reason: str
    line: int | None = None
    row: int | None = None

    def __str__(self) -> str:
        place = str(self.file)
        if self.line is not None:
            place += f", line {self.line}"
        if self.row is not None:
            place += f", row [{self.row}]"
        return f"{place}: {self.reason}"


class DataError(ArgumentError):
    """A data file cannot be used, or one of its rows where reading is to stop at the first bad one."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    def __reduce__(self) -> tuple[type[DataError], tuple[Problem]]:
        return type(self), (self.problem,)  # workers send their errors to the main process


class RowError(ValueError):
    """Why a row cannot be used; `Problems.row` adds the place."""


@dataclass
class Problems:
    """Counts the rows that were left out, and keeps where and why.

    on_error: "skip" leaves a bad row out, "stop" raises `DataError` at the first.
    """

    file: Path
    on_error: str = "skip"
    count: int = 0
    kept: list[Problem] = field(default_factory=list)

    def add(self, reason: str, line: int | None = None, row: int | None = None) -> None:
        """Counts a problem and keeps the first ones. Raises `DataError` where on_error is "stop"."""
        problem = Problem(self.file, reason, line, row)
        self.count += 1
        if len(self.kept) < KEPT:
            self.kept.append(problem)
        if self.on_error == "stop":
            raise DataError(problem)

    def row(self, line: int | None, row: int | None) -> _Guard:
        """A context in which a `RowError` becomes a problem of that row."""
        return _Guard(self, line, row)

    def clear(self) -> None:
        """Forgets all problems, before the file is read again."""
        self.count = 0
        self.kept.clear()

    def report(self, limit: int = 20) -> list[str]:
        """At most `limit` lines of text, and one that counts the others."""
        lines = [str(problem) for problem in self.kept[:limit]]
        if self.count > len(lines):
            lines.append(f"{self.file}: {self.count - len(lines)} more problems, {self.count} in all")
        return lines


@dataclass(frozen=True)
class _Guard:
    problems: Problems
    line: int | None
    row: int | None

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, RowError):
            return False
        self.problems.add(str(error), self.line, self.row)
        return True
