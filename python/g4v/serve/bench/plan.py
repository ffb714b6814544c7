"""What is asked, and when: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ("text", "video", "generation")
"""A question, a question about a clip, and a request for a video."""

_TEXTS = ("Hello", "What can you do?", "Who are you?", "Tell me what you see in videos", "Thank you")
_ABOUT_CLIPS = ("What moves here?", "Describe what happens in this video.", "Where does it go?")
_CAPTIONS = (
    "Show me a red circle moving left",
    "Show me a green star growing",
    "Show me a blue square moving up",
)
_MOST_PIECES = 6  # after which a client leaves at the latest
_MOST_SECONDS = 0.3  # the same where the answer is no stream


@dataclass(frozen=True)
class Planned:
    """One request. at: seconds after the start. clip: index of its clip.

    leaves: the client goes before the end: after so many pieces of a stream, or, where `stream` is False,
    after so many seconds; None: it stays.
    """

    at: float
    kind: str
    text: str
    clip: int
    seed: int
    stream: bool
    leaves: float | None


def plan(
    rate: float, seconds: float, mix: Mapping[str, float], disconnects: float, seed: int, clips: int
) -> list[Planned]:
    """Requests that come by chance, `rate` in a second (a Poisson process), and in any order of kinds.

    mix: weights of `KINDS`. disconnects: share of clients that leave early, half of them from a stream.
    """
    chance = random.Random(seed)
    found: list[Planned] = []
    at = chance.expovariate(rate)
    while at < seconds:
        (kind,) = chance.choices(KINDS, [mix.get(name, 0.0) for name in KINDS])
        texts = {"text": _TEXTS, "video": _ABOUT_CLIPS, "generation": _CAPTIONS}[kind]
        early = chance.random() < disconnects
        stream = not early or chance.random() < 0.5
        leaves: float | None = None
        if early:
            leaves = float(chance.randrange(_MOST_PIECES)) if stream else chance.uniform(0, _MOST_SECONDS)
        request = Planned(
            at, kind, chance.choice(texts), chance.randrange(clips), chance.getrandbits(32), stream, leaves
        )
        found.append(request)
        at += chance.expovariate(rate)
    return found


def body(request: Planned, clips: list[str], max_tokens: int | None, steps: int | None) -> dict[str, Any]:
    """The request's JSON. clips: data URLs."""
    content: Any = request.text
    if request.kind == "video":
        shown = {"type": "video_url", "video_url": {"url": clips[request.clip]}}
        content = [{"type": "text", "text": request.text}, shown]
    fields: dict[str, Any] = {
        "messages": [{"role": "user", "content": content}],
        "seed": request.seed,
        "stream": request.stream,
        "modalities": ["text", "video"] if request.kind == "generation" else ["text"],
    }
    if max_tokens is not None:
        fields["max_completion_tokens"] = max_tokens
    if steps is not None and request.kind == "generation":
        fields["num_inference_steps"] = steps
    return fields
