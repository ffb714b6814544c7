"""What the commands say on the terminal: one progress bar, one form of errors, the machine's description.

Standard streams may be closed or missing (`python -m g4v ... 2>&-`, pythonw): nothing is then drawn and
nothing fails.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, TextIO

_WIDTH = 30  # characters of the bar
_PAUSE = 0.1  # seconds between two drawings


class ProgressBar:
    """One line on stderr that says how far a work is. As a context manager it takes the line away at the end.

    label: what is done; it stands before the bar. total: number of items; 1.0 for shares. On a terminal it
    draws a bar with the time that is left; elsewhere it prints a line at each quarter where `lines` is True,
    else nothing. quiet: draws and prints nothing. stream: stderr by default.
    """

    def __init__(
        self,
        label: str = "",
        total: float = 1.0,
        *,
        quiet: bool = False,
        lines: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self.label, self.total = label, total
        self._stream = sys.stderr if stream is None else stream
        self.terminal = not quiet and is_terminal(self._stream)
        self._lines = lines and not quiet and not self.terminal
        self._done, self._quarter = 0.0, -1
        self._started, self._drawn = time.monotonic(), 0.0  # the latter: when; 0 is not at all

    def __enter__(self) -> ProgressBar:
        self.update(0)
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def step(self, count: float = 1) -> None:
        """So many more items are done."""
        self.update(self._done + count)

    def update(self, done: float, label: str | None = None) -> None:
        """`done` items of the total are done; `label` takes the place of the one before."""
        self._done = min(float(done), self.total)
        self.label = self.label if label is None else label
        share = self._done / self.total if self.total > 0 else 1.0
        now = time.monotonic()
        if self.terminal and (share >= 1 or not self._drawn or now - self._drawn >= _PAUSE):
            full = int(_WIDTH * share)
            count = f"{share:4.0%}" if self.total == 1.0 else f"{self._done:.0f}/{self.total:.0f}"
            text = f"{printable(self.label)} [{'#' * full}{'-' * (_WIDTH - full)}] {count}".lstrip()
            spent = now - self._started
            if 0.02 < share < 1 and spent > 2:
                text += f", about {duration(spent / share - spent)} left"
            write(self._stream, f"\r\x1b[K{text}")
            self._drawn = now
        elif self._lines and int(4 * share) > self._quarter:
            self._quarter = int(4 * share)
            spent = now - self._started
            count = f"{self._done:.0f}/{self.total:.0f}"
            write(self._stream, f"{printable(self.label)} {count} ({spent:.0f} s)\n")

    def update_of(self, done: float, total: float) -> None:
        """`update` where the total is told with each step."""
        self.total = float(total)
        self.update(done)

    def clear(self) -> None:
        """Takes the bar away, before another line is printed."""
        if self._drawn:
            write(self._stream, "\r\x1b[K")
            self._drawn = 0.0


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is there, open, and a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def write(stream: TextIO | None, text: str) -> None:
    """Writes to a stream, if it is there and open; a reader that has gone (a closed pipe) is no error."""
    try:
        if stream is not None:
            stream.write(text)
            stream.flush()
    except (OSError, ValueError):
        pass


def printable(text: str) -> str:
    """The text as one line without control characters, which could make a terminal show something else.

    White space becomes single blanks; other control characters, marks of direction, and bytes that are no
    UTF-8 become their Python escapes, such as \\x1b.
    """
    return visible(" ".join(text.split()))


def visible(text: str) -> str:
    """The text without control characters but line feeds and tabs, so that a terminal may show it.

    White space stays as it is; what is escaped, and how, is as in `printable`.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if character.isspace() and character not in "\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029":
        return character  # such as a no-break space
    return ascii(character)[1:-1]


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path for a person: as it is where stdout can show all of it, else quoted with escapes."""
    text = os.fsdecode(path)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return ascii(text)
    return text if text and text.isprintable() else ascii(text)


def report_error(message: str, program: str = "g4v") -> None:
    """One line on stderr: "PROGRAM: error: MESSAGE"."""
    _report("error", message, program)


def report_warning(message: str, program: str = "g4v") -> None:
    """One line on stderr: "PROGRAM: warning: MESSAGE"."""
    _report("warning", message, program)


def _report(kind: str, message: str, program: str) -> None:
    write(sys.stderr, f"{program}: {kind}: {printable(message)}\n")


def duration(seconds: float) -> str:
    """Time for a person: "40 s", "3 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def processor() -> str:
    """The processor's name, such as "AMD EPYC 9B45"."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """What a figure was measured on: system, processor, usable cores, Python, load of the last minutes."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return {
        "system": platform.platform(),
        "cpu": processor(),
        "cores": cores,
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }
