"""Dialogues written as one text: roles and tags of videos.

Roles open a line: "Human:", and "Assistant:" or "AI:". Tags are `<video>..</video>`, with a number
`<video0>..</video0>` or raw `<vid0>..</vid0>`; between them stands a caption.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from g4v.data.formats.problems import RowError
from g4v.data.formats.values import short

PREAMBLE = "The following is a conversation between"
"""A system text that opens with these words is left out; the template brings its own."""
_PLACEHOLDER = "<|video|>"
_ROLE = re.compile(r"^[ \t]*(Human|Assistant|AI)[ \t]*:", re.MULTILINE)
_TAG = re.compile(r"<(/?)(vid(?:eo)?)(\d{0,4})>", re.IGNORECASE | re.ASCII)
_REMNANT = re.compile(r"<[\s/]*vid[^<>]{0,20}>?|(?<![</])[</]+vid(?:eo)?\d*>", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class DialogueText:
    """Exchanges of (question, answer), tags as they were written. video_turn: which one a clip belongs to."""

    exchanges: tuple[tuple[str, str], ...]
    video_turn: int


def parse_dialogue(text: str) -> DialogueText:
    """The exchanges of a dialogue written as one text.

    `RowError`: the roles do not alternate from a question to an answer.
    """
    marks = list(_ROLE.finditer(text))
    opening = text[: marks[0].start()].strip() if marks else text.strip()
    if not marks:
        raise RowError("the dialogue has no line that starts with 'Human:'")
    if opening and not opening.startswith(PREAMBLE):
        raise RowError(f"the dialogue starts with {short(opening)} before its first role")
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    said = [
        (mark[1] == "Human", text[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)
    ]
    video_turn = 0
    exchanges: list[tuple[str, str]] = []
    question: str | None = None
    for human, words in said:
        if human and words == _PLACEHOLDER and question is None:
            video_turn = len(exchanges)
        elif human and question is not None:
            raise RowError(f"roles do not alternate: turn {len(exchanges) + 1} has two questions")
        elif human:
            question = words
        elif question is None:
            raise RowError(
                f"roles do not alternate: an answer without a question after turn {len(exchanges)}"
            )
        else:
            exchanges.append((question, words))
            question = None
    if question is not None:
        raise RowError("the dialogue ends with a question that has no answer")
    if video_turn >= len(exchanges):
        raise RowError("the dialogue has no question and answer")
    return DialogueText(tuple(exchanges), video_turn)


def normalise_tags(text: str, opening: str, closing: str, what: str) -> str:
    """The text with every tag pair as `opening` CAPTION `closing`, the caption on one line.

    `RowError` where a tag is not closed, closes nothing, stands within another, is of another number than
    its partner, has no caption, or is broken.
    """
    parts: list[str] = []
    place = 0
    opened: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        between = text[place : tag.start()]
        _no_remnant(between, what)
        if tag[1]:
            if opened is None:
                raise RowError(f"{what}: {tag[0]} closes no tag")
            if (opened[2].lower(), opened[3]) != (tag[2].lower(), tag[3]):
                raise RowError(f"{what}: {opened[0]} is closed by {tag[0]}")
            caption = " ".join(between.split())
            if not caption:
                raise RowError(f"{what}: {opened[0]} has no caption")
            parts.append(f"{opening}{caption}{closing}")
            opened = None
        elif opened is not None:
            raise RowError(f"{what}: {tag[0]} stands within {opened[0]}")
        else:
            parts.append(between)
            opened = tag
        place = tag.end()
    if opened is not None:
        raise RowError(f"{what}: {opened[0]} is not closed")
    _no_remnant(text[place:], what)
    return "".join(parts) + text[place:]


def without_tags(text: str, what: str) -> str:
    """The text with the captions in place of the tag pairs: only the assistant sends videos."""
    return normalise_tags(text, "", "", what)


def _no_remnant(text: str, what: str) -> None:
    broken = _REMNANT.search(text)
    if broken:
        raise RowError(f"{what}: {short(broken[0])} is not a whole tag")
