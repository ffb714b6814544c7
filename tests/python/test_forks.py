"""A fork waits while FFmpeg may start threads."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from g4v._encode import save_video
from g4v._forks import ForksWait, forks_wait
from g4v.video import read_video

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def fork(code: int = 0) -> int:
    """Forks a child that enters the context and ends; returns its exit code."""
    pid = os.fork()
    if pid == 0:
        with forks_wait:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_fork_waits_for_another_thread() -> None:
    inside, left = threading.Event(), []

    def work() -> None:
        with forks_wait, forks_wait:  # an outer call and an inner one
            inside.set()
            time.sleep(0.2)
            left.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    assert fork(7) == 7
    assert left, "the fork did not wait"
    thread.join()


def test_a_thread_does_not_wait_for_itself() -> None:
    with forks_wait:
        assert fork() == 0
    assert fork() == 0  # and it is outside again


def test_several_are_inside_at_once() -> None:
    wait, both = ForksWait(), threading.Barrier(2, timeout=10)

    def work() -> None:
        with wait:
            both.wait()

    thread = threading.Thread(target=work)
    thread.start()
    work()
    thread.join()
    assert wait._inside == 0


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_reading_and_writing_are_inside(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every thread of FFmpeg is started inside."""
    path, seen = tmp_path / f"clip{suffix}", []

    def count() -> int:
        return len(os.listdir("/proc/self/task"))

    class Watched(ForksWait):
        def __enter__(self) -> None:
            super().__enter__()
            assert count() <= before[0], "a thread was started outside"

        def __exit__(self, *exception: object) -> None:
            before[0] = count()
            seen.append(before[0])
            super().__exit__(*exception)

    if sys.platform != "linux":
        pytest.skip("threads are counted in /proc")
    before = [count()]
    watched = Watched()
    for module in ("_encode", "_decode", "_container"):
        monkeypatch.setattr(f"g4v.{module}.forks_wait", watched)
    save_video(path, np.random.default_rng(0).integers(0, 255, (30, 64, 64, 3), np.uint8), 8.0)
    read_video(path, 8)
    assert count() <= before[0]
    assert len(seen) > 8
