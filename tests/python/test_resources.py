"""Memory and threads that the system does not give: a typed error, before any work where it can be known."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("resource")

START = """
import resource, sys
import numpy
import g4v

def limit(spare):
    '''From now on the process gets no more than so many bytes.'''
    pages = int(open("/proc/self/statm").read().split()[0])
    most = pages * resource.getpagesize() + spare
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))

def refusal(call):
    try:
        call()
    except g4v.Error as error:
        return error
    raise SystemExit("not refused")

assistant = g4v.load(sys.argv[1], device="cpu", threads=1)
assistant.wait_until_ready()
assistant.chat().ask("Show me b")
"""


def run(bundle_dir, program: str) -> None:
    script = START + textwrap.dedent(program)
    command = [sys.executable, "-c", script, str(bundle_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done


def test_a_video_that_cannot_fit_is_refused_before_it_is_begun(bundle_dir):
    run(
        bundle_dir,
        """
        limit(2_000_000_000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        error = refusal(lambda: assistant.generate("a b", frames=1024, width=4096, height=4096))
        assert isinstance(error, g4v.ArgumentError), error
        words = str(error)
        assert words.startswith("a video of 1024 frames of 4096x4096 takes at least "), words
        assert words.endswith(" MB are free; ask for fewer or smaller frames"), words
        assert int(words.split("at least ")[1].split()[0]) > 51_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
        assert assistant.generate("a b", steps=1).frames.ndim == 4  # as advised
        """,
    )


def test_a_chat_goes_on_after_a_video_that_cannot_fit(bundle_dir):
    run(
        bundle_dir,
        """
        limit(2_000_000_000)
        chat = assistant.chat(frames=1024, width=4096, height=4096)
        assert isinstance(refusal(lambda: chat.ask("Show me b")), g4v.ArgumentError)
        assert chat.ask("say a").text == "Hello, world."
        """,
    )


def test_threads_that_cannot_be_started(bundle_dir):
    run(
        bundle_dir,
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit(60_000_000)  # the stacks of a few threads
        chats = [assistant.chat() for _ in range(100)]  # turns need none
        streams = [chat.send("say a") for chat in chats]
        assert all(len([event for event in stream]) > 1 for stream in streams)
        more = []
        load = lambda: more.append(g4v.load(sys.argv[1], device="cpu", threads=1))
        error = refusal(lambda: [load() for _ in range(100)])
        assert isinstance(error, (g4v.InternalError, g4v.RuntimeUnavailable)), repr(error)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert assistant.chat().ask("say a").text == "Hello, world."
        """,
    )


@pytest.mark.parametrize("spare", [0, 1_000_000, 9_000_000])
def test_a_thread_or_memory_that_is_not_there(bundle_dir, spare):
    """Every call is refused or works, and works again where there is enough."""
    run(
        bundle_dir,
        f"""
        chat = assistant.chat()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        for call in (lambda: chat.ask("say a"), lambda: assistant.generate("a b", steps=1),
                     lambda: g4v.load(sys.argv[1], device="cpu", threads=1), assistant.chat):
            limit({spare})
            try:
                call()
            except g4v.InternalError as error:
                assert str(error) == "there is not enough memory" or "no thread" in str(error), error
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        assert chat.ask("say a").text == "Hello, world."
        assert assistant.generate("a b", steps=1).frames.ndim == 4
        """,
    )
