"""The host of benchmarks/soak.py: a process whose threads talk, make videos, cancel, load and fork in rounds.

It is a process of its own, so that a crash or a hang of it is seen from outside. After each round all threads
rest, and it writes one line of JSON to stdout: what it holds now (memory, threads, descriptors), how long
each kind of work took, and the errors.
"""

from __future__ import annotations

import faulthandler
import gc
import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import g4v

QUESTIONS = ("Hello", "What is a circle?", "Who are you?", "What can you do?")
CAPTIONS = ("a red circle moves left", "a blue square moves up", "a green triangle moves right")
SHOW, LOOK = "Show me a red circle moving left", "What do you see?"
STEPS = 2  # of a video: most of the work shall be talks, loads and cancels
PATIENCE = 120.0  # seconds until a child counts as hanging


class Wrong(Exception):
    """A result is another one than that of a quiet machine."""


def held() -> dict[str, int]:
    """What the process holds: bytes of memory (RSS, PSS, what of RSS is no file), threads, descriptors."""
    rollup = dict(
        line.split()[:2] for line in Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()[1:]
    )
    return {
        "rss": 1024 * int(rollup["Rss:"]),
        "pss": 1024 * int(rollup["Pss:"]),
        "anonymous": 1024 * int(rollup["Anonymous:"]),
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")) - 1,  # that of the listing itself
    }


def exit_code(pid: int, patience: float = PATIENCE) -> int | str:
    """The exit code of a child (negative: a signal), or "hangs" for one that had to be killed."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"


def digest(frames: Any) -> str:
    return hashlib.sha256(frames.tobytes()).hexdigest()


class Host:
    """An assistant, the work of its threads, and what that work gives where nothing else runs."""

    def __init__(self, bundle: str, folder: Path) -> None:
        self.bundle, self.folder = bundle, folder
        self.assistant = self.load()
        self.assistant.wait_until_ready()
        self.answers = {text: self.assistant.chat().ask(text).text for text in QUESTIONS}
        clips = [self.assistant.generate(text, steps=STEPS) for text in CAPTIONS]
        self.videos = {clip.caption: digest(clip.frames) for clip in clips}
        self.clips: list[Any] = [clip.frames for clip in clips]
        self.clips += [clip.save(folder / f"clip{k}.mp4") for k, clip in enumerate(clips)]
        self.seen = [self.assistant.chat().ask(LOOK, clip).text for clip in self.clips]
        self.shown = digest(self.assistant.chat(steps=STEPS).ask(SHOW).videos[0].frames)
        self.lock = threading.Lock()
        self.errors: Counter[str] = Counter()
        self.milliseconds: dict[str, list[float]] = {}

    def load(self) -> g4v.Assistant:
        return g4v.load(self.bundle, device="cpu", threads=1)

    def expect(self, found: object, expected: object, what: str) -> None:
        if found != expected:
            raise Wrong(f"{what}: {found!r} and not {expected!r}")

    def timed(self, kind: str, call: Callable[[], Any]) -> Any:
        """The call's result; its milliseconds are noted."""
        began = time.perf_counter()
        result = call()
        with self.lock:
            self.milliseconds.setdefault(kind, []).append(1e3 * (time.perf_counter() - began))
        return result

    def talk(self, rng: random.Random) -> None:
        chat = self.assistant.chat()
        for k in range(rng.randrange(1, 4)):
            text = rng.choice(QUESTIONS)
            reply = self.timed("talk", lambda text=text: chat.ask(text))
            if k == 0:
                self.expect(reply.text, self.answers[text], "an answer")
        if rng.random() < 0.5:
            chat.fork().ask("Hello")

    def look(self, rng: random.Random) -> None:
        k = rng.randrange(len(self.clips))
        reply = self.timed("clip", lambda: self.assistant.chat().ask(LOOK, self.clips[k]))
        self.expect(reply.text, self.seen[k], "what is seen")

    def show(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            reply = self.timed("video", lambda: self.assistant.chat(steps=STEPS).ask(SHOW))
            self.expect(digest(reply.videos[0].frames), self.shown, "a video")
            return
        caption = rng.choice(CAPTIONS)
        clip = self.timed("video", lambda: self.assistant.generate(caption, steps=STEPS))
        self.expect(digest(clip.frames), self.videos[caption], "a video")
        if rng.random() < 0.25:
            clip.save(self.folder / f"made{threading.get_ident()}.mp4")

    def cancel(self, rng: random.Random) -> tuple[str, float] | None:
        """What the turn was of ("text", "clip", "video"), and milliseconds from a cancel at a random time to
        its end; None: it had ended before.
        """
        chat = self.assistant.chat(steps=8)
        kind = rng.randrange(3)
        text = (rng.choice(QUESTIONS), LOOK, SHOW)[kind]
        events = chat.send(text, self.clips[rng.randrange(3)] if kind == 1 else None)
        time.sleep(rng.uniform(0, (0.02, 0.1, 0.5)[kind]))
        began = time.perf_counter()
        chat.cancel()
        try:
            for _ in events:
                pass
        except g4v.Cancelled:
            spent = 1e3 * (time.perf_counter() - began)
            with self.lock:
                self.milliseconds.setdefault("cancel", []).append(spent)
            self.expect(chat.turns, 0, "turns after a cancel")
            text = rng.choice(QUESTIONS)
            self.expect(chat.ask(text).text, self.answers[text], "an answer after a cancel")
            return ("text", "clip", "video")[kind], spent
        return None

    def reload(self, rng: random.Random) -> None:
        """Loads once more and drops it: at once, when all is there, or after a turn."""
        assistant = self.timed("load", self.load)
        if (kind := rng.randrange(3)) == 1:
            assistant.wait_until_ready()
        elif kind == 2:
            self.expect(assistant.chat().ask("Hello").text, self.answers["Hello"], "an answer of a new load")

    def fork(self, rng: random.Random) -> None:
        """A child that loads for itself, answers, and ends."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if self.load().chat().ask("Hello").text == self.answers["Hello"] else 2
            finally:
                os._exit(code)  # what a worker of multiprocessing does: this is no main thread
        self.expect(self.timed("fork", lambda: exit_code(pid)), 0, "the exit code of a child")

    def work(self, rng: random.Random) -> None:
        """One piece of work; an error of it is counted."""
        weights = {self.talk: 40, self.look: 20, self.show: 8, self.cancel: 24, self.reload: 6, self.fork: 2}
        call: Callable[[random.Random], object]
        (call,) = rng.choices([*weights], [*weights.values()])
        try:
            call(rng)
        except Exception as error:
            with self.lock:
                self.errors[f"{type(error).__name__}: {error}"] += 1


def rounds(host: Host, threads: int, seconds: float, minutes: float) -> None:
    """Rounds of work until the minutes are over; a line after each."""
    begin, over = threading.Barrier(threads + 1), threading.Barrier(threads + 1)
    end = [0.0]  # of the round; 0 in the first wait means nothing

    def run(number: int) -> None:
        rng = random.Random(number)
        while True:
            begin.wait()
            if not end[0]:
                return
            while time.monotonic() < end[0]:
                host.work(rng)
            over.wait()

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    began = time.monotonic()
    while time.monotonic() < began + 60 * minutes:
        end[0] = time.monotonic() + seconds
        begin.wait()
        over.wait()
        gc.collect()
        line: dict[str, Any] = {"seconds": round(time.monotonic() - began, 1), **held()}
        line["errors"] = dict(host.errors)
        line["milliseconds"] = {k: np.round(v, 2).tolist() for k, v in host.milliseconds.items()}
        host.errors.clear()
        host.milliseconds.clear()
        print(json.dumps(line), flush=True)
    end[0] = 0.0
    begin.wait()
    for worker in workers:
        worker.join()


def main() -> None:
    """Arguments: bundle, folder for files, threads, seconds of a round, minutes."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # where it hangs
    bundle, folder, threads, seconds, minutes = sys.argv[1:]
    host = Host(bundle, Path(folder))
    rounds(host, int(threads), float(seconds), float(minutes))


if __name__ == "__main__":
    main()
