"""Unsafe and harmless requests and unsafe clips: drawn from wordings, or read from files."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from g4v.data.requests.harmless import LOOK_ALIKES
from g4v.data.requests.unsafe import ASK_DEED, ASK_SIGHT, DEED, SIGHT
from g4v.data.text_lines import read_lines
from g4v.errors import ArgumentError

_UNSAFE, _HARMLESS = 0.5, 0.1  # toxicity from which a prompt is unsafe, and up to which it is harmless


def sample_unsafe_requests(count: int, seed: int) -> list[str]:
    """`count` different short unsafe requests, none of which names a method; the same ones for a seed.

    Wordings that are held out for tests stay out. There are fewer where no new ones are found.
    """

    def one(rand: Callable[[], float]) -> str:
        if rand() < 0.5:
            return ASK_DEED.sample(rand, "train", {"d": DEED.sample(rand, "train", {})})
        return ASK_SIGHT.sample(rand, "train", {"s": SIGHT.sample(rand, "train", {})})

    return _different(one, count, seed)


def sample_harmless_requests(count: int, seed: int) -> list[str]:
    """`count` different harmless requests with words of unsafe ones, such as "how can I kill time?".

    Wordings that are held out for tests stay out. There are fewer where no new ones are found.
    """

    def one(rand: Callable[[], float]) -> str:
        return LOOK_ALIKES[int(rand() * len(LOOK_ALIKES))].sample(rand, "train", {})

    return _different(one, count, seed)


def _different(one: Callable[[Callable[[], float]], str], count: int, seed: int) -> list[str]:
    rand = random.Random(seed).random
    found: dict[str, None] = {}
    for _ in range(20 * count):
        if len(found) >= count:
            break
        text = one(rand)
        found[text[:1].upper() + text[1:]] = None
    return list(found)


def read_unsafe_requests(path: Path) -> list[str]:
    """Requests from a file: one a line, or RealToxicityPrompts JSONL ({"prompt": {"text", "toxicity"}}), of
    which those of toxicity 0.5 and more are taken. Unusable lines are left out; ArgumentError if none is
    left.
    """
    return _read_requests(path, lambda toxicity: toxicity is not None and toxicity >= _UNSAFE)


def read_harmless_requests(path: Path) -> list[str]:
    """Reads harmless requests, in the formats of `read_unsafe_requests`; rated prompts up to toxicity 0.1."""
    return _read_requests(path, lambda toxicity: toxicity is not None and toxicity <= _HARMLESS)


def _read_requests(path: Path, wanted: Callable[[float | None], bool]) -> list[str]:
    found: dict[str, None] = {}
    for _, line in read_lines(path):
        text: Any = line
        if line is not None and path.suffix.lower() in (".jsonl", ".ndjson"):
            try:
                prompt = json.loads(line)["prompt"]
                text = prompt["text"] if wanted(prompt.get("toxicity")) else None
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                text = None
        if isinstance(text, str):
            text = " ".join(text.split())
            if 3 <= len(text) <= 1000 and "<" not in text and text.isprintable():
                found[text] = None
    if not found:
        raise ArgumentError(f"{path.name} has no usable request")
    return list(found)


def read_unsafe_clips(path: Path, videos: Path | None) -> tuple[list[str], int]:
    """Paths of clips, one a line, and how many lines were left out: empty, not printable, or, where the
    folder of the clips is given, of files that are not in it. ArgumentError if none is left.
    """
    found: dict[str, None] = {}
    left_out = 0
    for _, line in read_lines(path):
        name = (line or "").strip()
        if name and name.isprintable() and (videos is None or (videos / name).is_file()):
            found[name] = None
        else:
            left_out += 1
    if not found:
        where = f" in {videos}" if videos else ""
        raise ArgumentError(f"{path.name} names no clip{where}")
    return list(found), left_out
