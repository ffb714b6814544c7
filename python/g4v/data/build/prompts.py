"""What is asked for: one item is one request, and one dialogue or several come back."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.errors import ArgumentError

from .captions import Caption
from .files import read_lines

KINDS = ("single", "multi", "safety")

_FORMAT = """Write plain text, no JSON and no Markdown. Begin every spoken turn on a new line with "Human:" or
"Assistant:", in turn, the human first and the assistant last. Write nothing before, between or
after the turns{more}."""
_SYSTEM = "You write realistic conversations in English that will teach a video assistant how to talk."
_SINGLE = """The assistant can play a video inside its answer by writing the video's description between tags:
{tag}

Write {count} different conversations of {low} to {high} turns in which this video comes up. In each
of them one turn of the assistant, at the moment when it helps most, contains exactly the line
above: the same tags, and the description copied letter by letter. The human never writes tags and
does not know the description. Let the conversations differ in who the human is, what they want, and
whether they ask for a video or the assistant offers it unasked; let the talk go on after the video.
{form}"""
_MULTI = """The assistant can play videos inside its answers by writing a video's description between numbered
tags:
{tag}

Write one conversation of {low} to {high} turns in which all of these videos come up, each once, in
this order, in different turns of the assistant or the same, wherever they help. Copy tags and
descriptions letter by letter. The human never writes tags and does not know the descriptions. The
videos are related: let the human compare them or ask what connects them, and let the assistant
answer from the descriptions.
{form}"""
_SAFETY = """A person says to a video assistant:
{request}

Write a conversation of 2 or 4 turns. The human's first turn is exactly that text, letter by letter.
The assistant refuses kindly and plainly, in its own words, says in a few words why, repeats no
harmful detail, and offers something harmless instead. It writes no tags of any kind.
{form}"""
TURNS = (2, 10)  # spoken turns of a dialogue that is kept
_ASKED = (4, 8)


@dataclass(frozen=True)
class Item:
    """One request. `captions` is empty for a refusal, `request` for everything else."""

    kind: str
    captions: tuple[Caption, ...] = ()
    request: str = ""
    count: int = 1  # dialogues asked for

    @property
    def name(self) -> str:
        """A short stable name: kind and a hash of the texts."""
        text = "\n".join((self.request, *(c.text for c in self.captions)))
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def tags(self) -> list[str]:
        """The names of the tags, in the order of the captions."""
        return ["video"] if self.kind == "single" else [f"video{i}" for i in range(len(self.captions))]

    def messages(self) -> list[dict[str, str]]:
        """The chat messages of the request."""
        tagged = zip(self.tags(), self.captions, strict=False)
        values = {
            "tag": "\n".join(f"<{tag}>{caption.text}</{tag}>" for tag, caption in tagged),
            "count": self.count,
            "request": self.request,
            "low": _ASKED[0],
            "high": _ASKED[1],
            "form": _FORMAT.format(more=_between(self.count)),
        }
        text = {"single": _SINGLE, "multi": _MULTI, "safety": _SAFETY}[self.kind].format(**values)
        return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]


def _between(count: int) -> str:
    if count == 1:
        return ""
    return f', but put a line "=== 1 ===" above the first conversation and so on up to "=== {count} ==="'


def request_body(item: Item, model: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The body of a chat-completions request; a setting of None leaves its field out."""
    fields = {name: value for name, value in settings.items() if value is not None}
    return {"model": model, "messages": item.messages(), **fields}


def key_of(body: dict[str, Any], attempt: int) -> str:
    """What the journal knows an answer by: model, prompt, settings, and the how-manieth try it is."""
    text = json.dumps([body, attempt], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sample_unsafe_requests(count: int, seed: int) -> list[str]:
    """So many different short unsafe requests, none of which names a method, from the wordings that the
    shapes world trains with (those it holds out for tests stay out). Fewer where no new ones are found.
    """
    if not count:
        return []
    from g4v.data.shapes.dialogues import safety  # builds all wordings of the shapes world: some seconds

    rand = random.Random(seed).random
    found: dict[str, None] = {}
    for _ in range(20 * count):
        if len(found) >= count:
            break
        if rand() < 0.5:
            text = safety.ASK_DEED.sample(rand, "train", {"d": safety.DEED.sample(rand, "train", {})})
        else:
            text = safety.ASK_SIGHT.sample(rand, "train", {"s": safety.SIGHT.sample(rand, "train", {})})
        found[text[:1].upper() + text[1:]] = None
    return list(found)


def read_unsafe_requests(path: Path, toxicity: float = 0.5) -> list[str]:
    """Requests from a file: one a line, or RealToxicityPrompts JSONL ({"prompt": {"text", "toxicity"}}), of
    which those at or above `toxicity` are taken. Unusable lines are left out; ArgumentError if none is left.
    """
    found: dict[str, None] = {}
    for _, line in read_lines(path):
        text: Any = line
        if line is not None and path.suffix.lower() in (".jsonl", ".ndjson"):
            try:
                prompt = json.loads(line)["prompt"]
                text = prompt["text"] if (prompt.get("toxicity") or 0) >= toxicity else None
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                text = None
        if isinstance(text, str):
            text = " ".join(text.split())
            if 3 <= len(text) <= 1000 and "<" not in text and text.isprintable():
                found[text] = None
    if not found:
        raise ArgumentError(f"{path.name} has no usable request")
    return list(found)


def plan(
    captions: Sequence[Caption],
    groups: Sequence[Sequence[int]],
    per_caption: int,
    unsafe: Sequence[str],
    seed: int,
) -> list[Item]:
    """All items, mixed, so that a run that stops early has its share of every kind."""
    items = [Item("single", (c,), count=per_caption) for c in captions] if per_caption else []
    items += [Item("multi", tuple(captions[i] for i in group)) for group in groups]
    items += [Item("safety", request=text) for text in unsafe]
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed} {item.name}".encode()).digest())
