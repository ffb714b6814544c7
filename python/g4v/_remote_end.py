"""Videos that other servers make for this process, which are told when it ends.

A program may end while a job is under way, or just after it was cancelled, before the server could be told:
so the end waits a moment for those that are told.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Iterator

_LONGEST = 2.0  # seconds that the end of the program waits


class _UnderWay:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.count = 0
        self.ending = False


_state = _UnderWay()


@contextlib.contextmanager
def under_way() -> Iterator[None]:
    """Around a job that may have to be told."""
    state = _state
    with state.changed:
        state.count += 1
    try:
        yield
    finally:
        with state.changed:
            state.count -= 1
            state.changed.notify_all()


def program_ends() -> bool:
    """Whether the program ends, and jobs should end too."""
    return _state.ending


def _end() -> None:
    state = _state
    state.ending = True
    with state.changed:
        state.changed.wait_for(lambda: state.count == 0, _LONGEST)


def _forget() -> None:
    """In the child of a fork, which has none of its parent's threads."""
    global _state
    _state = _UnderWay()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
