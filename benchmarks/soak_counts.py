"""The counts of benchmarks/soak.py: the same work very many times, in processes of their own.

loads    loads, dropped at once, when all is there, or after a turn: growth
chats    chats with one turn each: growth
cancels  turns cancelled at random times: milliseconds until the turn has ended
exits, forks  see benchmarks/soak_ends.py
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soak_ends
import soak_host

import g4v

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
    for what in ("rss", "pss", "anonymous"):
        values = [point[what] for point in points]
        found[what] = {"median": statistics.median(values), "growth": round(growth(at, values), 4)}
    third = -(-len(points) // 3)
    for what in ("threads", "descriptors"):
        first, last = (statistics.median(p[what] for p in part) for part in (points[:third], points[-third:]))
        found[f"more_{what}"] = last - first
    return found


def is_steady(found: dict[str, Any], most_growth: float) -> bool:
    """Whether a `change` is small: of memory below `most_growth`, of threads and descriptors nothing.

    PSS is told alone: it rises when another process ends that used the same libraries.
    """
    grown = max(found["rss"]["growth"], found["anonymous"]["growth"])
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
        spent: dict[str, list[float]] = {"text": [], "clip": [], "video": []}
        over = 0
        while sum(map(len, spent.values())) < number:
            if (ended := host.cancel(rng)) is None:
                over += 1
            else:
                spent[ended[0]].append(ended[1])
    found = {"all": [ms for each in spent.values() for ms in each], **spent}
    late = {kind: float(np.quantile(each, 0.99)) for kind, each in found.items() if each}
    return {
        "cancelled": number, "over_before": over,
        "p50_ms": {kind: round(statistics.median(found[kind]), 2) for kind in late},
        "p99_ms": {kind: round(value, 2) for kind, value in late.items()},
        "most_ms": round(max(found["all"]), 2), "step_of_a_video_ms": round(step, 1),
        "good": late["all"] < max(MOST_CANCEL_MS, step),
    }  # fmt: skip


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
    "exits": soak_ends.exits,
    "forks": soak_ends.forks,
}


def main() -> None:
    """Arguments: kind, bundle, number."""
    kind, bundle, number = sys.argv[1:]
    works: dict[str, Callable[..., Any]] = {"loads": loads, "chats": chats, "cancels": cancels}
    print(json.dumps(works[kind](bundle, int(number))))


if __name__ == "__main__":
    main()
