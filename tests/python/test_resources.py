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

# Videos of any size are tried: what is refused here is refused for the memory that there is.
assistant = g4v.load(sys.argv[1], device="cpu", threads=1, max_video_pixels=0)
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


def test_turns_need_no_new_threads(bundle_dir):
    run(
        bundle_dir,
        """
        chats = [assistant.chat() for _ in range(8)]
        for _ in range(2):  # side by side, so that all threads are there
            for stream in [chat.send("say a") for chat in chats]:
                assert len(list(stream)) > 1
        limit(2_000_000)  # no stack of a thread
        for stream in [chat.send("say a") for chat in chats]:
            assert len(list(stream)) > 1
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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and asks glibc")
def test_what_a_load_and_a_drop_freed_is_given_back(bundle_dir):
    """The C library has kept nothing that it could give back: 13 to 36 MB of `tiny` otherwise."""
    run(
        bundle_dir,
        """
        import ctypes
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

        def kept():
            '''Megabytes that glibc keeps.'''
            pages = lambda: int(open("/proc/self/statm").read().split()[1])
            before = pages()
            trim(0)
            return (before - pages()) * resource.getpagesize() / 1e6

        if trim:
            assistant = g4v.load("tiny", device="cpu", threads=1)
            assistant.wait_until_ready()
            assert kept() < 3
            del assistant
            assert kept() < 3
        """,
    )
