"""The table, the notes and the JSON of an evaluation; published numbers stand apart from measured ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from g4v._console import report_warning
from g4v.eval.published import Published
from g4v.eval.report import Row, show, write_figures

_SHOWN = 5  # problems of one sort that are printed; the JSON has them all


@dataclass
class LeftOut:
    """What was not measured, by sort ("bad rows", "missing clips", ..), one line each."""

    sorts: dict[str, list[str]] = field(default_factory=dict)
    more: dict[str, int] = field(default_factory=dict)  # those that are counted but not kept

    def add(self, sort: str, line: str) -> None:
        """Adds one thing that was left out, with the line that says why."""
        self.sorts.setdefault(sort, []).append(line)

    def count(self, sort: str) -> int:
        """How many of a sort were left out, those without a line included."""
        return len(self.sorts.get(sort, ())) + self.more.get(sort, 0)

    def summary(self) -> str:
        """Returns a line such as "left out: 2 bad rows, 1 missing clips"; "" where nothing was left out."""
        counts = ", ".join(f"{self.count(sort)} {sort}" for sort in self.sorts)
        return f"left out: {counts}" if counts else ""

    def warn(self) -> None:
        """Prints the first of each sort on stderr."""
        for sort, lines in self.sorts.items():
            for line in lines[:_SHOWN]:
                report_warning(line)
            if self.count(sort) > _SHOWN:
                report_warning(f"{self.count(sort) - _SHOWN} more {sort}, {self.count(sort)} in all")

    def as_json(self) -> dict[str, Any]:
        """Sort -> its count and lines."""
        return {sort: {"count": self.count(sort), "lines": lines} for sort, lines in self.sorts.items()}


@dataclass
class Figures:
    """What an evaluation found. title: what was measured on what; notes: sentences that belong to the figures
    wherever they are quoted.
    """

    title: str = ""
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    published: list[Published] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """The table, the notes, and under a heading of their own the published numbers."""
        lines = [("figure", "value", "95% interval", "n")]
        for row in self.rows:
            interval = "" if row.low is None else f"{show(row.low, row.unit)} - {show(row.high, row.unit)}"
            lines.append((row.name, show(row.value, row.unit), interval, str(row.count) if row.count else ""))
        widths = [max(len(line[i]) for line in lines) for i in range(4)]
        table = [
            "  ".join(
                [a.ljust(widths[0]), b.rjust(widths[1]), c.rjust(widths[2]), d.rjust(widths[3])]
            ).rstrip()
            for a, b, c, d in lines
        ]
        table.insert(1, "-" * max(map(len, table)))
        table.insert(0, self.title)
        notes = [*self.notes, self.left_out.summary()]
        table += [f"note: {note}" for note in notes if note]
        if self.published:
            table += ["", "published by others on the data sets themselves, not measured here:"]
            table += [f"  {line.text()}" for line in self.published]
        return "\n".join(table)

    def finish(self, path: Path | None, extra: dict[str, Any]) -> None:
        """Prints the table, warns of what was left out and writes the JSON. Raises `OutputError`."""
        self.left_out.warn()
        print(self.text(), flush=True)
        if path is None:
            return
        values = {
            **extra,
            "measured_on": self.title,
            "notes": self.notes,
            "left_out": self.left_out.as_json(),
            "published_by_others": [vars(line) for line in self.published],
            "details": self.details,
        }
        write_figures(path, self.rows, values)
