"""One line on stderr that says how far a measurement is."""

from __future__ import annotations

import sys
import time


class Progress:
    """A bar where stderr is a terminal, else a line at each quarter. Use as a context manager; call
    `step` per item.
    """

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, max(1, total), 0
        self._terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._shown = -1.0

    def __enter__(self) -> Progress:
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def step(self, count: int = 1) -> None:
        """So many more items are done."""
        self._done = min(self._total, self._done + count)
        self._show()

    def _show(self) -> None:
        seconds = time.monotonic() - self._started
        part = self._done / self._total
        if self._terminal:
            if part < 1 and seconds - self._shown < 0.1:
                return
            self._shown = seconds
            bar = "#" * int(30 * part) + "-" * (30 - int(30 * part))
            left = f", {seconds / part - seconds:.0f} s left" if part > 0 else ""
            text = f"\r\x1b[K{self._label} [{bar}] {self._done}/{self._total}{left}"
            print(text, end="", file=sys.stderr, flush=True)
        elif int(4 * part) > self._shown:
            self._shown = int(4 * part)
            print(f"{self._label} {self._done}/{self._total} ({seconds:.0f} s)", file=sys.stderr, flush=True)
