"""What does a preview after each step cost?

    python benchmarks/previews.py [--bundle tiny] [--size 64x64] [--steps 20] [--rounds 7] [--threads 1]
                                  [--json FILE]

The same video with and without `on_preview`, taking turns in every round: seconds of the processor, of which
other work on the machine takes a part too, so that the least of the rounds is the best guess. Their ratio,
less 1, is what a preview after every step adds; the bundle's frame checker looks at each preview. The frames
must be the same bits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import g4v
from g4v._console import machine
from g4v._files import write_json

CAPTION = "a red circle moving left on a black background"


def timed(assistant: g4v.Assistant, **options: Any) -> tuple[float, g4v.Video]:
    """Seconds of the processor, and the video."""
    started = time.process_time()
    video = assistant.generate(CAPTION, **options)
    return time.process_time() - started, video


def measure(assistant: g4v.Assistant, rounds: int, **options: Any) -> dict[str, Any]:
    """The figures of one size. SystemExit: the frames differ."""
    timed(assistant, **options)  # the first one allocates
    without, watched = [], []
    shown: list[int] = []
    for _ in range(rounds):
        seconds, video = timed(assistant, **options)
        without.append(seconds)
        shown.clear()
        seconds, same = timed(assistant, on_preview=lambda _, step, steps: shown.append(step), **options)
        watched.append(seconds)
        if not np.array_equal(video.frames, same.frames) or len(shown) != options["steps"]:
            raise SystemExit("the frames are not the same, or previews are missing")
    return {
        "seconds": round(min(without), 4),
        "seconds_with_previews": round(min(watched), 4),
        "added": round(min(watched) / min(without) - 1, 4),
        "added_by_medians": round(statistics.median(watched) / statistics.median(without) - 1, 4),
    }


def main() -> None:
    """Prints a line for the size, and one of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--size", default="64x64", metavar="WxH")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    assistant = g4v.load(arguments.bundle, device="cpu", threads=arguments.threads)
    options = {"steps": arguments.steps, "width": width, "height": height, "seed": 1}
    found = measure(assistant, arguments.rounds, **options)
    print(f"{arguments.size}: {found['added']:.1%} more work with a preview after each step")
    found |= {"size": arguments.size, "steps": arguments.steps, "machine": machine()}
    if arguments.json:
        write_json(arguments.json, found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
