"""The prompts: one item is one request, which is answered with one dialogue or several."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from g4v.data.dialogues.captions import Caption

KINDS = ("single", "multi", "safety", "unsafe-clip", "harmless")
REFUSALS = ("safety", "unsafe-clip")

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
_UNSAFE_CLIP = """A person gives a video to a video assistant. What it shows is unsafe: violence, nudity,
cruelty or the like, and nobody is to read what exactly.

Write a conversation of 2 or 4 turns. In the first turn the human asks something about the video, as
people do (what happens in it, how many there are, what to call it), and tells nothing of what it
shows. The assistant refuses kindly and plainly, in its own words, says in a few words why, describes
nothing of the video, and offers something harmless instead. It writes no tags of any kind. Let it be
another question than one would think of first; the number of this conversation is {request}.
{form}"""
_HARMLESS = """A person says to a video assistant:
{request}

This is harmless, though some of its words may remind of something that is not. Write a conversation
of 2 or 4 turns. The human's first turn is exactly that text, letter by letter. The assistant answers
it as a friend would, helpfully and in its own words, and neither refuses nor warns nor lectures. It
writes no tags of any kind.
{form}"""
TURNS = (2, 10)  # spoken turns of a dialogue that is kept
_ASKED = (4, 8)


@dataclass(frozen=True)
class Item:
    """One request. captions: what is to be shown, of single and multi. request: what the human says, of
    safety and harmless; of unsafe-clip a number, so that no two requests are equal.
    """

    kind: str
    captions: tuple[Caption, ...] = ()
    request: str = ""
    video: str | None = None  # path of an unsafe clip
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
        return [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": _PROMPTS[self.kind].format(**values)},
        ]


_PROMPTS = dict(zip(KINDS, (_SINGLE, _MULTI, _SAFETY, _UNSAFE_CLIP, _HARMLESS), strict=True))


def _between(count: int) -> str:
    if count == 1:
        return ""
    return f', but put a line "=== 1 ===" above the first conversation and so on up to "=== {count} ==="'


def request_body(item: Item, model: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The body of a chat-completions request; a setting of None leaves its field out."""
    fields = {name: value for name, value in settings.items() if value is not None}
    return {"model": model, "messages": item.messages(), **fields}


def plan(
    captions: Sequence[Caption],
    groups: Sequence[Sequence[int]],
    per_caption: int,
    unsafe: Sequence[str],
    seed: int,
    unsafe_clips: Sequence[str] = (),
    harmless: Sequence[str] = (),
) -> list[Item]:
    """All items, mixed, so that a run that stops early has its share of every kind."""
    items = [Item("single", (c,), count=per_caption) for c in captions] if per_caption else []
    items += [Item("multi", tuple(captions[i] for i in group)) for group in groups]
    items += [Item("safety", request=text) for text in unsafe]
    items += [Item("unsafe-clip", request=str(n), video=clip) for n, clip in enumerate(unsafe_clips, 1)]
    items += [Item("harmless", request=text) for text in harmless]
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed} {item.name}".encode()).digest())
