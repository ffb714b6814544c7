"""What each step of an export takes: seconds, and resident memory at most."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Step:
    """cpu_seconds: of all cores, which other work on the machine changes less; peak_bytes: of the process
    meanwhile, mapped files among it, None where the system does not say.
    """

    name: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int | None


class Stopwatch:
    """Steps of one component, in the order in which they were done; of each target its own."""

    def __init__(self) -> None:
        self._steps: dict[str, list[Step]] = {}

    @contextmanager
    def __call__(self, name: str, target: str) -> Iterator[None]:
        _forget_peak()
        start, worked = time.monotonic(), time.process_time()
        yield
        seconds, worked = time.monotonic() - start, time.process_time() - worked
        step = Step(name, round(seconds, 2), round(worked, 2), _peak_bytes())
        self._steps.setdefault(target, []).append(step)

    def steps(self, target: str) -> list[Step]:
        return self._steps.get(target, [])

    def seconds(self, target: str) -> float:
        """Of all steps."""
        return round(sum(step.seconds for step in self.steps(target)), 1)

    def peak_bytes(self, target: str) -> int | None:
        """Of the largest step."""
        return max((step.peak_bytes for step in self.steps(target) if step.peak_bytes), default=None)


def _forget_peak() -> None:
    """Starts a new measurement of the peak; Linux alone can."""
    try:
        _FORGET.write_text("5")
    except OSError:
        pass


def _peak_bytes() -> int | None:
    """Peak resident memory since `_forget_peak`, mapped files among it."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
