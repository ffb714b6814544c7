"""Measures time and memory of each step of an export."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Step:
    """What one step of an export took.

    name: such as "write" or "compare".
    seconds: elapsed time.
    cpu_seconds: processor time of all cores, which other work on the machine changes less.
    peak_bytes: largest resident memory of the process during the step, mapped files among it; None where the
        system does not say.
    """

    name: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int | None


class Profiler:
    """Measures the steps of one component, for each target its own, in the order in which they are done.

    with profiler("write", "cpu"):
        ...
    """

    def __init__(self) -> None:
        self._steps: dict[str, list[Step]] = {}

    @contextmanager
    def __call__(self, name: str, target: str) -> Iterator[None]:
        """A context that measures what is done in it as the step `name` of `target`."""
        _reset_peak()
        start, worked = time.monotonic(), time.process_time()
        yield
        seconds, worked = time.monotonic() - start, time.process_time() - worked
        step = Step(name, round(seconds, 2), round(worked, 2), _peak_bytes())
        self._steps.setdefault(target, []).append(step)

    def steps(self, target: str) -> list[Step]:
        """Returns the steps of a target that are measured so far."""
        return self._steps.get(target, [])

    def seconds(self, target: str) -> float:
        """Returns the elapsed time of all steps of a target together."""
        return round(sum(step.seconds for step in self.steps(target)), 1)

    def peak_bytes(self, target: str) -> int | None:
        """Returns the largest resident memory in any step of a target; None where the system does not say."""
        return max((step.peak_bytes for step in self.steps(target) if step.peak_bytes), default=None)


def _reset_peak() -> None:
    """Starts a new measurement of the peak; only Linux can."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        pass


def _peak_bytes() -> int | None:
    """Peak resident memory since `_reset_peak`, mapped files among it."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
