"""How far an export is, in one line on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

Tick = Callable[[float], None]  # takes the share of a component that is done, 0 to 1

_WIDTH = 30
_PAUSE = 0.2  # seconds between two drawings


def ignore(share: float) -> None:
    """A Tick that tells nobody."""


class ProgressLine:
    """Call it with the component at work and the share of the whole export that is done, 0 to 1. It draws
    where `stream` (stderr) is a terminal; `clear` before other lines are printed.
    """

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.active = self.stream.isatty() and not quiet
        self.started = time.monotonic()
        self.drawn = 0.0  # when

    def __call__(self, component: str, share: float) -> None:
        now = time.monotonic()
        if not self.active or now - self.drawn < _PAUSE:
            return
        full = int(_WIDTH * share)
        text = f"[{'#' * full}{'-' * (_WIDTH - full)}] {share:4.0%} {component}"
        spent = now - self.started
        if share > 0.02 and spent > 5:
            text += f", about {duration(spent / share - spent)} left"
        self.stream.write(f"\r\x1b[K{text}")
        self.stream.flush()
        self.drawn = now

    def clear(self) -> None:
        """Takes the line away."""
        if self.drawn:
            self.stream.write("\r\x1b[K")
            self.stream.flush()
            self.drawn = 0.0


def duration(seconds: float) -> str:
    """Time for a person: "40 s", "3 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def quieten() -> None:
    """Keeps the libraries' notes and progress bars off stderr: it carries our own lines."""
    import warnings

    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    warnings.simplefilter("ignore", FutureWarning)
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
