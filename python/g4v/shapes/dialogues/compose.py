"""The kinds of dialogues: how turns of the families follow each other."""

from __future__ import annotations

from collections.abc import Callable

from g4v.shapes.dialogues import (
    about,
    compare,
    describe,
    foreign,
    harmless,
    judge,
    mention,
    odd,
    outside,
    questions,
    recall,
    requests,
    safety,
    series,
    smalltalk,
)
from g4v.shapes.dialogues.core import Talk

_ASK = tuple(
    make
    for make, weight in (*questions.QUESTIONS, *judge.QUESTIONS, *compare.QUESTIONS)
    for _ in range(weight)
)


def _ask(talk: Talk) -> None:
    """A question that fits the user's last clip, without attaching it again."""
    if talk.clip is None:
        raise ValueError("no clip to ask about")
    while talk.pick(_ASK)(talk, talk.clip) is None:
        pass


def _ask_new(talk: Talk) -> None:
    """A question that comes with a clip."""
    talk.new_clip()
    _ask(talk)
    talk.turns[-1].video = talk.clip


def _count(talk: Talk, *weights: float) -> int:
    """1, 2, ... with these weights."""
    r, total = talk.rand() * sum(weights), 0.0
    for i, weight in enumerate(weights):
        total += weight
        if r < total:
            return i + 1
    return len(weights)


def _describe(talk: Talk) -> None:
    describe.describe(talk)
    for _ in range(_count(talk, 6, 3, 1) - 1):
        if talk.chance(0.5):
            describe.describe(talk)
        else:
            _ask(talk)


def _question(talk: Talk) -> None:
    _ask_new(talk)
    for _ in range(_count(talk, 4, 4, 3, 2) - 1):
        r = talk.rand()
        if r < 0.12:
            _ask_new(talk)
        elif r < 0.22:
            describe.describe(talk, attach=False)
        else:
            _ask(talk)


def _talk(talk: Talk) -> None:
    if talk.chance(0.35):
        smalltalk.opening(talk)
    for _ in range(_count(talk, 5, 3, 1)):
        if talk.chance(0.3):
            smalltalk.unknown(talk)
        else:
            smalltalk.chat(talk)


def _request(talk: Talk) -> None:
    if talk.chance(0.12):
        smalltalk.opening(talk)
    requests.request(talk)
    if talk.chance(0.25):
        requests.request(talk)
    if talk.chance(0.12):
        smalltalk.closing(talk)


def _implied(talk: Talk) -> None:
    if talk.chance(0.15):
        smalltalk.opening(talk)
    requests.implied(talk)
    if talk.chance(0.15):
        smalltalk.closing(talk)


def _series(talk: Talk) -> None:
    if talk.chance(0.15):
        describe.describe(talk)
        if talk.chance(0.5):
            series.like_mine(talk)
        else:
            while series.change(talk) is None:
                pass
    elif talk.chance(0.2):
        requests.implied(talk)
    else:
        requests.request(talk)
    for _ in range(_count(talk, 4, 4, 2)):
        if len(talk.turns) == 4:
            break
        r = talk.rand()
        turn = None
        if r < 0.2:
            turn = recall.compare_sent(talk)
        elif r < 0.3:
            turn = recall.recall(talk)
        while turn is None:
            turn = series.change(talk)


def _about(talk: Talk) -> None:
    for _ in range(_count(talk, 5, 3, 1)):
        r = talk.rand()
        if r < 0.6:
            about.fact(talk)
        elif r < 0.9:
            mention.mention(talk)
        elif talk.clip is None and not talk.sent:
            mention.without_clip(talk)
        else:
            about.fact(talk)


def _outside(talk: Talk) -> None:
    outside.outside(talk)
    if talk.chance(0.45):
        outside.answer_offer(talk)
        if talk.chance(0.3):
            requests.request(talk)


def _unsafe(talk: Talk) -> None:
    safety.unsafe(talk)
    if talk.offer is not None and talk.chance(0.3):
        outside.answer_offer(talk)
    if talk.chance(0.25):
        safety.unsafe(talk)
    elif talk.chance(0.2):
        requests.request(talk)


def _harmless(talk: Talk) -> None:
    for _ in range(_count(talk, 5, 3)):
        harmless.harmless(talk)


def _unsafe_clip(talk: Talk) -> None:
    if talk.chance(0.2):
        _safe_turn(talk)
    safety.unsafe_clip(talk)
    if talk.chance(0.3):
        safety.unsafe_clip(talk, attach=False)
    if talk.chance(0.55):
        _safe_turn(talk)


def _foreign_clip(talk: Talk) -> None:
    if talk.chance(0.2):
        _safe_turn(talk)
    foreign.foreign_clip(talk)
    if talk.chance(0.3):
        foreign.foreign_clip(talk, attach=False)
    if talk.chance(0.4):
        _safe_turn(talk)


def _safe_turn(talk: Talk) -> None:
    """A turn that is answered normally whatever came before."""
    r = talk.rand()
    if r < 0.3:
        describe.describe(talk)
    elif r < 0.55:
        _ask_new(talk)
    elif r < 0.75:
        requests.request(talk)
    elif r < 0.87:
        smalltalk.chat(talk)
    else:
        about.fact(talk)


def _odd(talk: Talk) -> None:
    odd.odd(talk)
    if talk.chance(0.4):
        _safe_turn(talk)


_TURNS: tuple[Callable[[Talk], object], ...] = (
    *([describe.describe] * 4),
    *([_ask_new] * 4),
    *([requests.request] * 6),
    *([requests.implied] * 3),
    *([about.fact] * 3),
    *([mention.mention] * 2),
    *([smalltalk.chat] * 3),
    smalltalk.unknown,
    outside.outside,
    safety.unsafe,
    safety.unsafe,
    harmless.harmless,
    harmless.harmless,
    safety.unsafe_clip,
    odd.odd,
)


def _mixed(talk: Talk) -> None:
    for _ in range(1 + _count(talk, 4, 4, 3)):
        r = talk.rand()
        asked = (
            talk.clip is not None
            and talk.clip.objects
            and not talk.clip.skull
            and talk.turns[-1].video is not None
        )
        if talk.offer is not None and r < 0.5:
            outside.answer_offer(talk)
        elif asked and r < 0.5:
            _ask(talk)
        elif talk.turns and talk.turns[-1].meta["sends_video"] and r < 0.35:
            if series.change(talk) is None:
                recall.recall(talk)
        else:
            talk.pick(_TURNS)(talk)


KINDS: dict[str, tuple[Callable[[Talk], None], float]] = {
    "describe": (_describe, 10),
    "question": (_question, 24),
    "talk": (_talk, 8),
    "request": (_request, 13),
    "implied": (_implied, 7),
    "series": (_series, 11),
    "about": (_about, 8),
    "outside": (_outside, 4),
    "unsafe": (_unsafe, 7),
    "harmless": (_harmless, 5),
    "unsafe_clip": (_unsafe_clip, 4),
    "foreign_clip": (_foreign_clip, 3),
    "odd": (_odd, 2),
    "mixed": (_mixed, 12),
}
