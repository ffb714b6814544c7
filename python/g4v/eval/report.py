"""The table of figures with the values that they must reach, and the JSON file of them."""

from __future__ import annotations

import datetime
import math
import os
from dataclasses import asdict, dataclass
from typing import Any

from g4v._console import machine
from g4v._files import write_json
from g4v.eval.metrics import Decisions, Rate


@dataclass
class Row:
    """One figure. needed: the least (or, with at_most, the greatest) value that passes; None only
    informs. unit: "%" for rates, "" for F1, "s" for seconds, "e" for relative errors. low, high: 95%
    interval; count: what it was measured on.
    """

    name: str
    value: float
    needed: float | None = None
    at_most: bool = False
    unit: str = "%"
    low: float | None = None
    high: float | None = None
    count: int = 0

    @property
    def passed(self) -> bool | None:
        """None where nothing is needed. A figure that could not be measured does not pass."""
        if self.needed is None:
            return None
        if math.isnan(self.value):
            return False
        return self.value <= self.needed if self.at_most else self.value >= self.needed


def rate_row(name: str, rate: Rate, needed: float | None = None, at_most: bool = False) -> Row:
    """A row of a rate, with Wilson's interval."""
    low, high = rate.interval
    return Row(name, rate.value, needed, at_most, "%", low, high, rate.total)


def f1_row(name: str, decisions: Decisions, needed: float | None = None) -> Row:
    """A row of F1, with its interval."""
    low, high = decisions.interval
    return Row(name, decisions.value, needed, False, "", low, high, decisions.total)


def time_row(name: str, seconds: float, count: int, needed: float | None = None) -> Row:
    """A row of a time in seconds, the median of `count` runs; it must not be above `needed`."""
    return Row(name, seconds, needed, True, "s", None, None, count)


def error_row(name: str, error: float, needed: float) -> Row:
    """A row of a relative error; it must not be above `needed`."""
    return Row(name, error, needed, True, "e")


def show(value: float | None, unit: str) -> str:
    """A figure as the table shows it; "-" where it could not be measured."""
    if value is None or math.isnan(value):
        return "-"
    if unit == "%":
        return f"{100 * value:.1f}%"
    if unit == "e":
        return f"{value:.1e}"
    return f"{value:.3f}" + (" s" if unit == "s" else "")


def table(rows: list[Row]) -> str:
    """Rows as aligned text: figure, value, 95% interval, what is needed, on how many, and the verdict."""
    lines = [("figure", "value", "95% interval", "needed", "n", "")]
    for row in rows:
        interval = "" if row.low is None else f"{show(row.low, row.unit)} - {show(row.high, row.unit)}"
        sign = "<=" if row.at_most else ">="
        needed = "" if row.needed is None else f"{sign} {show(row.needed, row.unit)}"
        count = str(row.count) if row.count else ""
        verdict = {True: "pass", False: "FAIL", None: ""}[row.passed]
        lines.append((row.name, show(row.value, row.unit), interval, needed, count, verdict))
    widths = [max(len(line[i]) for line in lines) for i in range(6)]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0])] + [line[i].rjust(widths[i]) for i in range(1, 5)] + [line[5]]
        text.append("  ".join(cells).rstrip())
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def write_figures(path: str | os.PathLike[str], rows: list[Row], extra: dict[str, Any]) -> None:
    """Writes rows as JSON, whole or not at all, with the time, the machine and the values of `extra`.

    NaN and infinite numbers become null. OutputError: the file cannot be written.
    """
    values = {
        "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        **extra,
        "figures": [{**asdict(row), "passed": row.passed} for row in rows],
    }
    write_json(path, _plain(values), indent=1)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
