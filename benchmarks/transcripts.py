"""Writes down conversations with an assistant, word by word.

    python benchmarks/transcripts.py BUNDLE [--talks FILE] [--out FILE]

The users' parts stand in benchmarks/transcripts.json: ordinary conversation, talks about a clip, requests for
videos, requests that are to be refused. Clips are drawn from their captions. Decoding is greedy and seed 0 is
used throughout, so that the same bundle says the same. Nothing is left out or done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import g4v
from g4v._files import write_text
from g4v.shapes.world.render import render
from g4v.shapes.world.world import Scene, parse_caption

SEED = 0


def clip_of(text: str) -> tuple[str, np.ndarray]:
    """What is shown, in words, and its frames uint8 [T, H, W, 3]."""
    scene: Scene | None
    if text == "unsafe":
        scene, words = Scene((), "black", skull=True), "the unsafe sign of the shapes world"
    else:
        scene, words = parse_caption(text), text
    if scene is None:
        raise SystemExit(f"{text!r} is no caption of the shapes world")
    return words, render(scene, np.random.default_rng(SEED))


def lines_of(assistant: g4v.Assistant, talks: list[dict[str, Any]]) -> Iterator[str]:
    for talk in talks:
        yield f"\n## {talk['title']}\n"
        chat = assistant.chat(seed=SEED, temperature=0.0)
        for turn in talk["turns"]:
            user, clip = (turn, None) if isinstance(turn, str) else (turn["user"], turn["clip"])
            frames = None
            if clip is not None:
                words, frames = clip_of(clip)
                yield f"*(a clip is shown: {words})*\n"
            yield f"**User:** {user}\n"
            reply = chat.ask(user, video=frames)
            said = " ".join(reply.text.split("\n"))
            for video in reply.videos:
                frames_made, height, width = np.asarray(video.frames).shape[:3]
                said += f" *[a video of {frames_made} frames of {width}x{height}: {video.caption}]*"
            marks = "".join(f" *({what})*" for what in ("refused",) if reply.refused)
            yield f"**{assistant.info['assistant']}:** {said.strip()}{marks}\n"


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("bundle", metavar="BUNDLE", help="name or directory")
    parser.add_argument("--talks", type=Path, default=Path(__file__).with_suffix(".json"), metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")
    options = parser.parse_args()
    assistant = g4v.load(options.bundle, device="cpu")
    talks = json.loads(options.talks.read_text("utf-8"))
    name = Path(options.bundle).name
    command = f"python benchmarks/transcripts.py {name}"
    heading = f"# Talks with `{name}`\n\nWritten by `{command}`: greedy, seed 0, uncut."
    text = "\n".join([heading, *lines_of(assistant, talks)])
    if options.out is None:
        print(text)
        return 0
    write_text(options.out, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
