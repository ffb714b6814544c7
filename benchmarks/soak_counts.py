"""The counts of benchmarks/soak.py: the same work very many times, in processes of their own.

loads    loads, dropped at once, when all is there, or after a turn: growth
chats    chats with one turn each: growth
cancels  turns cancelled at random times: milliseconds until the turn has ended
exits    the interpreter ends at a random time while threads are inside a call; so many times for each call
         of tests/python/test_process.py, on the bundle of the tests (that of --bundle is not used)
forks    children that load, answer and end, forked at each of STAGES; so many of each
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soak_host

import g4v

REPOSITORY = Path(__file__).parents[1]
WARM, POINTS = 0.25, 40  # share of the work that warms up; measurements
MOST_GROWTH, MOST_CANCEL_MS = 0.02, 20.0


def growth(at: list[float], values: list[float]) -> float:
    """The share by which a line of Theil and Sen through the points rises from their first to their last."""
    x, y = np.asarray(at, float), np.asarray(values, float)
    first, second = np.triu_indices(len(x), 1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    level = float(np.median(y - slope * (x - x[0])))
    return slope * float(x[-1] - x[0]) / level


def change(at: list[float], points: list[dict[str, Any]]) -> dict[str, Any]:
    """How what a process holds changed over the points, each of `soak_host.held`; at: when they were read.

    Of memory its growth; of threads and descriptors the median of the last third less that of the first.
    """
    found: dict[str, Any] = {}
    for what in ("rss", "pss"):
        values = [point[what] for point in points]
        found[what] = {"median": statistics.median(values), "growth": round(growth(at, values), 4)}
    third = -(-len(points) // 3)
    for what in ("threads", "descriptors"):
        first, last = (statistics.median(p[what] for p in part) for part in (points[:third], points[-third:]))
        found[f"more_{what}"] = last - first
    return found


def is_steady(found: dict[str, Any], most_growth: float) -> bool:
    """Whether a `change` is small: of memory below `most_growth`, of threads and descriptors nothing."""
    grown = max(found["rss"]["growth"], found["pss"]["growth"])
    return grown < most_growth and found["more_threads"] <= 0 and found["more_descriptors"] <= 0


def grown(number: int, work: Callable[[int], object]) -> dict[str, Any]:
    """What the process holds more after so many pieces of work."""
    work(0)
    points: list[dict[str, Any]] = []
    for done in range(1, number + 1):
        work(done)
        if done % max(1, number // POINTS) == 0 and done >= WARM * number:
            points.append({"done": done, **soak_host.held()})
    at = [point["done"] for point in points]
    found = {"number": number, "warm_from": at[0], **change(at, points)}
    return found | {"good": is_steady(found, MOST_GROWTH)}


def loads(bundle: str, number: int) -> dict[str, Any]:
    def work(k: int) -> None:
        assistant = g4v.load(bundle, device="cpu", threads=1)
        if k % 3 == 1:
            assistant.wait_until_ready()
        elif k % 3 == 2:
            assistant.chat().ask("Hello")

    return grown(number, work)


def chats(bundle: str, number: int) -> dict[str, Any]:
    assistant = g4v.load(bundle, device="cpu", threads=1)
    assistant.wait_until_ready()
    return grown(number, lambda _: assistant.chat().ask("Hello"))


def cancels(bundle: str, number: int) -> dict[str, Any]:
    """Turns of text, of a clip, and with a video; a chat's next turn is compared with that of a fresh one."""
    rng = random.Random(20231125)
    with tempfile.TemporaryDirectory() as folder:
        host = soak_host.Host(bundle, Path(folder))
        began = time.perf_counter()
        host.assistant.chat(steps=8).ask(soak_host.SHOW)
        step = 1e3 * (time.perf_counter() - began) / 8
        found: list[float] = []
        over = 0
        while len(found) < number:
            spent = host.cancel(rng)
            if spent is None:
                over += 1
            else:
                found.append(spent)
    middle, late = np.quantile(found, (0.5, 0.99))
    return {
        "cancelled": number, "over_before": over,
        "p50_ms": round(float(middle), 2), "p99_ms": round(float(late), 2),
        "most_ms": round(max(found), 2), "step_of_a_video_ms": round(step, 1),
        "good": bool(late < max(MOST_CANCEL_MS, step)),
    }  # fmt: skip


STAGES = {
    "before a load": "pass",
    "in the middle of a load": "load()",
    "after a load": "pass",
    "in a turn": 'assistant.chat().ask("Hello")',
    "in a video": 'assistant.generate("a red circle", steps=2)',
    "in a close": 'events = assistant.chat().send("Hello"); next(events); events.close()',
}


def forks(bundle: str, number: int) -> dict[str, Any]:
    """For each stage: the main thread forks at random times while another one is there."""
    found: dict[str, Any] = {}
    for stage in STAGES:
        program = [sys.executable, __file__, "forks", bundle, str(number), stage]
        done = subprocess.run(program, capture_output=True, text=True)
        codes = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
        found[stage] = {"exit_codes": codes, "exit_code_of_the_parent": done.returncode}
        if done.returncode or codes != {"0": number}:
            print(stage, codes, done.returncode, done.stderr[-3000:], file=sys.stderr)
    good = all(row == {"exit_codes": {"0": number}, "exit_code_of_the_parent": 0} for row in found.values())
    return {"number": number, "stages": found, "good": good}


def forks_at(bundle: str, number: int, stage: str) -> dict[str, int]:
    """The exit codes of the children, which load for themselves, and how many there are of each."""

    def load() -> g4v.Assistant:
        return g4v.load(bundle, device="cpu", threads=1)

    names: dict[str, Any] = {"load": load}
    if stage != "before a load":
        names["assistant"] = load()
    over = threading.Event()
    code = compile(STAGES[stage], stage, "exec")

    def work() -> None:
        while not over.is_set():
            exec(code, dict(names))

    worker = threading.Thread(target=work)
    if STAGES[stage] != "pass":
        worker.start()
    rng = random.Random(stage)
    codes: Counter[str] = Counter()
    for _ in range(number):
        time.sleep(rng.uniform(0, 0.3) if worker.ident else 0)
        pid = os.fork()
        if pid == 0:
            assert load().chat().ask("Hello").text.startswith("Hi")
            sys.exit(0)  # as a program ends, with an interpreter that is taken down
        codes[str(soak_host.exit_code(pid))] += 1
    over.set()
    if worker.ident:
        worker.join()
    return codes


def exits(bundle: str, number: int) -> dict[str, Any]:
    """The exit codes of processes, and how many hung."""
    sys.path.insert(0, str(REPOSITORY))
    from tests.python.synthetic_bundle import write_bundle
    from tests.python.test_process import CALLS, EXIT, run

    rng = random.Random(20231125)
    found: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder) / "bundle")
        for name, call in CALLS.items():
            codes = found[name] = Counter()
            for _ in range(number):
                moment = rng.uniform(0, 0.3)
                try:
                    done = run(Path(folder) / "bundle", EXIT, call, str(moment), timeout=soak_host.PATIENCE)
                except subprocess.TimeoutExpired:
                    codes["hangs"] += 1
                    continue
                codes[str(done.returncode)] += 1
                if done.returncode or done.stderr:
                    codes["words on stderr"] += bool(done.stderr)
                    print(name, moment, done.returncode, done.stderr[-2000:], file=sys.stderr)
    good = all(codes == {"0": number} for codes in found.values())
    return {"number": number, "exit_codes": found, "good": good}


def apart(kind: str) -> Callable[[str, int], dict[str, Any]]:
    """The count in a process of its own, so that what it does to its process is seen from outside."""

    def count(bundle: str, number: int) -> dict[str, Any]:
        command = [sys.executable, __file__, kind, bundle, str(number)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            return {"number": number, "ended": f"exit code {done.returncode}", "good": False}
        return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]

    return count


KINDS: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "loads": apart("loads"),
    "chats": apart("chats"),
    "cancels": apart("cancels"),
    "exits": exits,
    "forks": forks,
}


def main() -> None:
    """Arguments: kind, bundle, number, and the stage of forks."""
    kind, bundle, number, *stage = sys.argv[1:]
    works: dict[str, Callable[..., Any]] = {
        "loads": loads, "chats": chats, "cancels": cancels, "forks": forks_at
    }  # fmt: skip
    print(json.dumps(works[kind](bundle, int(number), *stage)))


if __name__ == "__main__":
    main()
