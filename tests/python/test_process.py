"""Forks, and the end of the interpreter while threads are inside g4v.

Each test runs a program of its own, which must end in time with exit code 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")

# The synthetic bundle spends a minute on what holds "~": whatever ends before that was not waited for.
START = """
import gc, os, signal, sys, threading, time
import numpy as np
import g4v

BUNDLE = sys.argv[1]

def load(**options):
    return g4v.load(BUNDLE, device="cpu", threads=1, **options)

def wait(pid):
    '''The exit code of a child, or "hangs".'''
    end = time.monotonic() + 20
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"

def fork(work):
    '''The exit code of a child that does `work` and then ends as a program does.'''
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        work()
        sys.exit(0)
    return wait(pid)

def refused(call):
    try:
        call()
    except g4v.RuntimeUnavailable as error:
        assert str(error).startswith("this was loaded before a fork"), error
        assert "load the bundle after the fork" in str(error), error
        return
    raise SystemExit(f"{call} is not refused")
"""


Done = subprocess.CompletedProcess[str]


def run(bundle_dir: object, program: str, *words: str, timeout: float = 50) -> Done:
    """Runs the program behind START; sys.argv is [.., the bundle, *words]."""
    script = START + textwrap.dedent(program)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, str(bundle_dir), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def assert_well(done: Done) -> None:
    assert (done.returncode, done.stderr) == (0, ""), done


@needs_fork
class TestFork:
    def test_what_was_loaded_is_refused_in_the_child(self, bundle_dir):
        program = """
            assistant = load()
            chat, stream = assistant.chat(), assistant.chat().send("slow ~")
            calls = [
                lambda: assistant.chat(),
                lambda: assistant.generate("a b"),
                lambda: assistant.wait_until_ready(),
                lambda: assistant.score_frames(np.zeros((1, 8, 8, 3), np.uint8)),
                lambda: chat.ask("say a"),
                lambda: chat.context_used,
                lambda: next(stream),
            ]
            for call in calls:
                assert fork(lambda: refused(call)) == 0, call
            # What only ends things, or is fixed, is harmless.
            for call in (chat.cancel, stream.close, lambda: (chat.seed, chat.context_length, assistant.info)):
                assert fork(call) == 0, call
            assert chat.ask("say a").text == "Hello, world."
        """
        assert_well(run(bundle_dir, program))

    def test_a_child_ends_in_every_way_while_a_turn_is_under_way(self, bundle_dir):
        program = """
            assistant = load()
            chat = assistant.chat()
            stream = chat.send("slow ~")
            video = assistant._core.generate(b"slow ~")
            time.sleep(0.05)

            def dropped():
                global assistant, chat, stream, video
                del assistant, chat, stream, video
                gc.collect()

            for work in (lambda: None, dropped, gc.collect, lambda: sys.exit(0), lambda: os._exit(0)):
                assert fork(work) == 0, work
            # Fork once more: a grandchild is no other than a child.
            assert fork(lambda: sys.exit(fork(lambda: refused(assistant.chat)))) == 0
            sys.stderr.flush()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            assert fork(lambda: 1 / 0) == 1
            stream.close()
            video.close()
            assert chat.ask("say a").text == "Hello, world."
        """
        assert_well(run(bundle_dir, program))

    def test_a_child_loads_for_itself(self, bundle_dir):
        program = """
            assistant = load()
            talk = assistant.chat().send("slow ~")

            def again():
                own = load()
                assert own.chat().ask("say a").text == "Hello, world."
                assert own.generate("a b", steps=1).frames.ndim == 4

            assert fork(again) == 0
            assert fork(lambda: sys.exit(fork(again))) == 0
            talk.close()
        """
        assert_well(run(bundle_dir, program))

    def test_a_fork_in_the_middle_of_loads(self, bundle_dir):
        """No lock of ONNX Runtime, or of the core, is held by a thread that the child lacks, and no thread is
        half made (glibc frees thread-local memory twice then: one fork in 50).
        """
        program = """
            stop = threading.Event()

            def loads():
                while not stop.is_set():
                    load()

            thread = threading.Thread(target=loads)
            thread.start()
            codes = []
            for i in range(50):
                time.sleep(0.0004 * i)
                codes.append(fork(lambda: load().chat().ask("say a")))
            stop.set()
            thread.join()
            assert codes == [0] * 50, codes
        """
        assert_well(run(bundle_dir, program))

    def test_worker_processes(self, bundle_dir):
        """Those of multiprocessing, as PyTorch's DataLoader and gunicorn --preload make them."""
        program = """
            import multiprocessing
            forking = multiprocessing.get_context("fork")
            assistant = load(frame_checker=lambda frames: [0.0] * len(frames))
            chat = assistant.chat()
            assistant.generate("a b", steps=1)

            def samples(queue):
                for i in range(3):
                    queue.put(np.full((2, 2), i))

            queue = forking.Queue()
            worker = forking.Process(target=samples, args=(queue,))
            worker.start()
            assert [int(queue.get(timeout=20)[0, 0]) for _ in range(3)] == [0, 1, 2]
            worker.join(20)
            assert worker.exitcode == 0

            def start():
                global own
                own = load()

            def answer(text):
                return own.chat().ask(text).text

            with forking.Pool(2, start) as pool:
                assert pool.map(answer, ["say a"] * 4) == ["Hello, world."] * 4
            assert chat.ask("say a").text == "Hello, world."
        """
        assert_well(run(bundle_dir, program))

    def test_the_attention_operator_under_way(self, bundle_dir):
        program = """
            from g4v import ops
            ops.set_threads(2)
            q = np.ones((1, 2, 64, 64), np.float32)
            kv = np.ones((1, 2, 512, 64), np.float32)
            stop = threading.Event()

            def attend():
                return ops.cross_attention(q, q, q, kv, kv)

            def attends():
                while not stop.is_set():
                    attend()

            thread = threading.Thread(target=attends)
            thread.start()
            for _ in range(5):
                assert fork(attend) == 0
            stop.set()
            thread.join()
        """
        assert_well(run(bundle_dir, program))


# What a daemon thread does when the main thread leaves. Each says "inside" and then does not end by itself.
CALLS = {
    "next": 'list(assistant.chat().send("slow ~"))',
    "next in time": 'core.chat().send(b"slow ~").next(60)',
    "ask": '[assistant.chat().ask("say a") for _ in range(10**9)]',
    "generate": 'assistant.generate("slow ~")',
    "load": "[load() for _ in range(10**9)]",
    "wait_until_ready": "[load().wait_until_ready() for _ in range(10**9)]",
    "score_frames": "assistant.score_frames(np.full((1, 8, 8, 3), 255, np.uint8))",
    "close": '[core.chat().send(b"slow ~").close() for _ in range(10**9)]',
    "check_bundle": '[_core.check_bundle(BUNDLE, "full") for _ in range(10**9)]',
    "attention": "[ops.cross_attention(q, q, q, q, q) for _ in range(10**9)]",
    "encode": '[tokenizer.encode("a b" * 99) for _ in range(10**9)]',
    "preprocess": "[_core.preprocess(frames, 32, [0] * 3, [1] * 3) for _ in range(10**9)]",
}
EXIT = """
    from g4v import _core, ops
    assistant = load()
    core = assistant._core
    q = np.ones((1, 2, 64, 64), np.float32)
    frames = np.zeros((4, 64, 64, 3), np.uint8)
    tokenizer = _core.Tokenizer(open(BUNDLE + "/tokenizer.json").read())

    def work(call):
        exec(call, globals())

    for _ in range(2):
        threading.Thread(target=work, args=(sys.argv[2],), daemon=True).start()
    time.sleep(float(sys.argv[3]))
"""


class TestExit:
    @pytest.mark.parametrize("call", CALLS)
    def test_while_daemon_threads_are_inside(self, bundle_dir, call):
        assert_well(run(bundle_dir, EXIT, CALLS[call], "0.03", timeout=60))

    @pytest.mark.slow
    # The last ones end about when the checker takes the interpreter's lock back.
    @pytest.mark.parametrize(
        "leave",
        [
            "pass",
            "sys.exit(0)",
            "del assistant, core",
            *(f"time.sleep({t})" for t in (0.28, 0.29, 0.295, 0.3)),
        ],
    )
    def test_while_a_frame_checker_runs(self, bundle_dir, leave):
        """The core's own thread is inside Python, and wants to go on there."""
        program = """
            inside = threading.Event()

            def check(frames):
                inside.set()
                time.sleep(0.3)
                return [0.0] * len(frames)

            assistant = load(frame_checker=check)
            core = assistant._core
            threading.Thread(target=assistant.generate, args=("a b", 0, 1), daemon=True).start()
            assert inside.wait(20)
            exec(sys.argv[2])
        """
        assert_well(run(bundle_dir, program, leave, timeout=60))

    def test_with_a_turn_that_nobody_reads(self, bundle_dir):
        program = """
            assistant = load()
            chat = assistant.chat()
            events = chat.send("slow ~")
            video = assistant._core.generate(b"slow ~")
            time.sleep(0.05)
        """
        assert_well(run(bundle_dir, program, timeout=60))

    def test_functions_of_atexit_may_use_the_assistant(self, bundle_dir):
        program = """
            import atexit
            atexit.register(lambda: print(assistant.chat().ask("say a").text))
            assistant = load(frame_checker=lambda frames: [0.0] * len(frames))
            atexit.register(lambda: print(assistant.generate("a b", steps=1).frames.ndim))
        """
        done = run(bundle_dir, program)
        assert (done.returncode, done.stdout, done.stderr) == (0, "4\nHello, world.\n", "")

    @pytest.mark.slow
    @pytest.mark.parametrize("call", CALLS)
    def test_at_many_times(self, bundle_dir, call):
        for i in range(10):
            assert_well(run(bundle_dir, EXIT, CALLS[call], str(0.004 * i**2), timeout=30))
