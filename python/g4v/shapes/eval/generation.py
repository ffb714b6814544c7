"""Measures of generated videos, by a clip checker that reads their pixels, and of speed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from g4v._console import ProgressBar
from g4v.errors import Error, UnsafeVideo
from g4v.eval.metrics import Rate, median
from g4v.shapes.dialogues import sample_dialogue
from g4v.shapes.eval.clip_checker import CheckResult, check
from g4v.shapes.world.render import render
from g4v.shapes.world.world import caption, sample_scene

if TYPE_CHECKING:
    from g4v import Assistant

_PARTS = ("colour", "shape", "motion", "count", "background")


@dataclass
class GeneratedClips:
    """What was counted of generated videos.

    rates: by name. made: (caption, frames uint8 [T, H, W, 3], whether it is right) of each. wrong: captions
    and what was seen instead. failed: calls that raised an error.
    """

    rates: dict[str, Rate] = field(default_factory=dict)
    made: list[tuple[str, np.ndarray, bool]] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0

    def rate(self, name: str) -> Rate:
        """The rate of that name, new at first use."""
        return self.rates.setdefault(name, Rate())


def right(result: CheckResult) -> bool:
    """Colour, shape, motion and number of objects; the background is counted on its own."""
    return result.colour_ok and result.shape_ok and result.motion_ok and result.count_ok


def videos(assistant: Assistant, count: int, seed: int) -> GeneratedClips:
    """Generates videos of held-out captions, every third one of two objects, and checks their pixels.

    rates: "all", "one object", "two objects", one for each part and one for each word of one-object captions.
    """
    clips = GeneratedClips()
    with ProgressBar("videos", count, lines=True) as progress:
        for i in range(count):
            rng = np.random.default_rng([seed, 3, i])
            scene = sample_scene(rng, "test", objects=2 if i % 3 == 2 else 1, background=None)
            text = caption(scene)
            frames, result = np.zeros((0, 0, 0, 3), np.uint8), None
            try:
                frames = assistant.generate(text, seed=seed * 1_000_003 + i).frames
                result = check(frames, scene)
            except Error as error:
                clips.failed += 1
                clips.wrong.append({"caption": text, "why": str(error)})
            good = result is not None and right(result)
            if result is not None:
                clips.made.append((text, frames, good))
                if not good or not result.background_ok:
                    clips.wrong.append({"caption": text, "why": result.why})
            clips.rate("all").add(good)
            clips.rate("one object" if len(scene.objects) == 1 else "two objects").add(good)
            for part in _PARTS:
                if part != "background" or scene.background is not None:
                    clips.rate(f"{part} right").add(result is not None and getattr(result, f"{part}_ok"))
            if len(scene.objects) == 1:
                only = scene.objects[0]
                for word in (only.motion, only.shape, only.colour):
                    clips.rate(word).add(good)
            progress.step()
    return clips


def choose_for_sheet(clips: GeneratedClips, count: int = 12) -> list[tuple[str, np.ndarray]]:
    """The first video of every motion, then the first of two objects, in the order of making; not by
    success.
    """
    chosen: list[tuple[str, np.ndarray]] = []
    motions: set[str] = set()
    for text, frames, _ in clips.made:
        motion = " ".join(text.split(" on a ")[0].split()[3:])
        if " and " not in text and motion not in motions:
            motions.add(motion)
            chosen.append((text, frames))
    chosen += [(text, frames) for text, frames, _ in clips.made if " and " in text]
    return chosen[:count]


_LOAD = """
import sys, time
started = time.perf_counter()
import g4v
assistant = g4v.load(sys.argv[1], device=sys.argv[2], threads=int(sys.argv[3]) or None)
loaded = time.perf_counter()
assistant.wait_until_ready()
print(loaded - started, time.perf_counter() - started)
"""


@dataclass
class Speed:
    """Seconds; one value per repeat. load, ready: in a new process, ready: also able to make videos.

    first_text: from sending a question with a video to the first text. video: one video.
    """

    load: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    first_text: list[float] = field(default_factory=list)
    video: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        """The median of each list, in seconds."""
        return {name: median(values) for name, values in vars(self).items()}


def speed(
    assistant: Assistant, bundle: str, device: str, threads: int | None, seed: int, repeats: int = 5
) -> Speed:
    """Times loading, the first text after a video question and the making of a video.

    The first question and the first video warm up and are not counted: loading is what it is without them.
    """
    from g4v import Text

    result = Speed()
    with ProgressBar("speed", repeats * 6 + 2, lines=True) as progress:
        for _ in range(repeats):
            command = [sys.executable, "-c", _LOAD, bundle, device, str(threads or 0)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
            load, ready = ran.stdout.split()
            result.load.append(float(load))
            result.ready.append(float(ready))
            progress.step()
        assistant.wait_until_ready()
        for i in range(repeats * 4 + 1):
            rng = np.random.default_rng([seed, 4, i])
            turn = sample_dialogue(rng, "test", "question").turns[0]
            assert turn.video is not None
            clip = render(turn.video, rng)
            chat = assistant.chat(seed=i)
            started, first = time.perf_counter(), None
            for event in chat.send(turn.user, video=clip):
                if first is None and isinstance(event, Text):
                    first = time.perf_counter() - started
            if i and first is not None:
                result.first_text.append(first)
            progress.step()
        for i in range(repeats + 1):
            scene = sample_scene(np.random.default_rng([seed, 5, i]), "test", objects=1)
            started = time.perf_counter()
            with contextlib.suppress(UnsafeVideo):  # made all the same, and then looked at
                assistant.generate(caption(scene), seed=i)
            if i:
                result.video.append(time.perf_counter() - started)
            progress.step()
    return result
