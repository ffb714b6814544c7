"""What a fork waits for.

glibc puts the stack of a thread that has ended on the list of those in use before it frees what was local to
that thread. A child of a fork in between frees it once more when it starts a thread, and ends with "double
free or corruption". So no fork happens while FFmpeg may start threads, as csrc/base/process.h has it for the
core's own.
"""

from __future__ import annotations

import os
import threading


class ForksWait:
    """A context in which `os.fork` of another thread waits; any number of threads are in it at once.

    `subprocess` does not wait: its child starts a program and no thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # of the numbers below; held through a fork
        self._inside = 0
        self._here = threading.local()  # .count: how often this thread is inside
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before,
                after_in_parent=self._after_in_parent,
                after_in_child=self._after_in_child,
            )

    def __enter__(self) -> None:
        with self._changed:
            self._inside += 1
            self._here.count = getattr(self._here, "count", 0) + 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._here.count -= 1
            self._changed.notify_all()

    def _before(self) -> None:
        self._changed.acquire()
        # A thread that forks inside does not wait for itself.
        self._changed.wait_for(lambda: self._inside <= getattr(self._here, "count", 0))

    def _after_in_parent(self) -> None:
        self._changed.release()

    def _after_in_child(self) -> None:
        self._changed = threading.Condition()  # no other thread waits, or is inside
        self._inside = getattr(self._here, "count", 0)


forks_wait = ForksWait()
