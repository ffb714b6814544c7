"""The kinds of dialogues: how turns of the families follow each other."""

from __future__ import annotations

from collections.abc import Callable

from g4v.shapes.dialogues import (
    about,
    compare,
    counting,
    describe,
    foreign,
    harmless,
    mention,
    odd,
    outside,
    plain,
    questions,
    recall,
    requests,
    safety,
    series,
    smalltalk,
    written,
    yes_no,
)
from g4v.shapes.dialogues.builder import DialogueBuilder

_ASK = tuple(
    make
    for make, weight in (*questions.QUESTIONS, *yes_no.QUESTIONS, *counting.QUESTIONS, *compare.QUESTIONS)
    for _ in range(weight)
)


_COMPARE = tuple(make for make, weight in (*compare.QUESTIONS, *yes_no.QUESTIONS) for _ in range(weight))


def _ask(builder: DialogueBuilder) -> None:
    """A question that fits the user's last clip, without attaching it again."""
    if builder.clip is None:
        raise ValueError("no clip to ask about")
    while builder.pick(_ASK)(builder, builder.clip) is None:
        pass


def _ask_new(builder: DialogueBuilder) -> None:
    """A question that comes with a clip."""
    builder.new_clip()
    _ask(builder)
    builder.turns[-1].video = builder.clip


def _count(builder: DialogueBuilder, *weights: float) -> int:
    """1, 2, ... with these weights."""
    r, total = builder.rand() * sum(weights), 0.0
    for i, weight in enumerate(weights):
        total += weight
        if r < total:
            return i + 1
    return len(weights)


def _describe(builder: DialogueBuilder) -> None:
    describe.describe(builder)
    for _ in range(_count(builder, 6, 3, 1) - 1):
        if builder.chance(0.5):
            describe.describe(builder)
        else:
            _ask(builder)


def _question(builder: DialogueBuilder) -> None:
    _ask_new(builder)
    for _ in range(_count(builder, 4, 4, 3, 2) - 1):
        r = builder.rand()
        if r < 0.12:
            _ask_new(builder)
        elif r < 0.22:
            describe.describe(builder, attach=False)
        else:
            _ask(builder)


def _compare(builder: DialogueBuilder) -> None:
    """Questions that need both objects of a clip at once, or a look at what they suppose."""
    clip = builder.new_clip(2)
    for number in range(_count(builder, 2, 3, 3, 2)):
        while builder.pick(_COMPARE)(builder, clip) is None:
            pass
        if number == 0:
            builder.turns[-1].video = clip


def _talk(builder: DialogueBuilder) -> None:
    if builder.chance(0.35):
        smalltalk.opening(builder)
    for _ in range(_count(builder, 5, 3, 1)):
        if builder.chance(0.3):
            smalltalk.unknown(builder)
        else:
            smalltalk.chat(builder)


def _request(builder: DialogueBuilder) -> None:
    if builder.chance(0.12):
        smalltalk.opening(builder)
    requests.request(builder)
    if builder.chance(0.25):
        requests.request(builder)
    if builder.chance(0.12):
        smalltalk.closing(builder)


def _implied(builder: DialogueBuilder) -> None:
    if builder.chance(0.15):
        smalltalk.opening(builder)
    requests.implied(builder)
    if builder.chance(0.15):
        smalltalk.closing(builder)


def _series(builder: DialogueBuilder) -> None:
    if builder.chance(0.15):
        describe.describe(builder)
        if builder.chance(0.5):
            series.like_mine(builder)
        else:
            while series.change(builder) is None:
                pass
    elif builder.chance(0.2):
        requests.implied(builder)
    else:
        requests.request(builder)
    for _ in range(_count(builder, 4, 4, 2)):
        if len(builder.turns) == 4:
            break
        r = builder.rand()
        turn = None
        if r < 0.2:
            turn = recall.compare_sent(builder)
        elif r < 0.3:
            turn = recall.recall(builder)
        while turn is None:
            turn = series.change(builder)


def _about(builder: DialogueBuilder) -> None:
    for _ in range(_count(builder, 5, 3, 1)):
        r = builder.rand()
        if r < 0.6:
            about.fact(builder)
        elif r < 0.9:
            mention.mention(builder)
        elif builder.clip is None and not builder.sent:
            mention.without_clip(builder)
        else:
            about.fact(builder)


def _outside(builder: DialogueBuilder) -> None:
    outside.outside(builder)
    if builder.chance(0.45):
        outside.answer_offer(builder)
        if builder.chance(0.3):
            requests.request(builder)


def _unsafe(builder: DialogueBuilder) -> None:
    safety.unsafe(builder)
    if builder.offer is not None and builder.chance(0.3):
        outside.answer_offer(builder)
    if builder.chance(0.25):
        safety.unsafe(builder)
    elif builder.chance(0.2):
        requests.request(builder)


def _harmless(builder: DialogueBuilder) -> None:
    for _ in range(_count(builder, 5, 3)):
        harmless.harmless(builder)


def _unsafe_clip(builder: DialogueBuilder) -> None:
    if builder.chance(0.2):
        _safe_turn(builder)
    safety.unsafe_clip(builder)
    if builder.chance(0.3):
        safety.unsafe_clip(builder, attach=False)
    if builder.chance(0.55):
        _safe_turn(builder)


def _foreign_clip(builder: DialogueBuilder) -> None:
    if builder.chance(0.2):
        _safe_turn(builder)
    foreign.foreign_clip(builder)
    if builder.chance(0.3):
        foreign.foreign_clip(builder, attach=False)
    if builder.chance(0.4):
        _safe_turn(builder)


def _safe_turn(builder: DialogueBuilder) -> None:
    """A turn that is answered normally whatever came before."""
    r = builder.rand()
    if r < 0.3:
        describe.describe(builder)
    elif r < 0.55:
        _ask_new(builder)
    elif r < 0.75:
        requests.request(builder)
    elif r < 0.87:
        smalltalk.chat(builder)
    else:
        about.fact(builder)


def _odd(builder: DialogueBuilder) -> None:
    odd.odd(builder)
    if builder.chance(0.4):
        _safe_turn(builder)


_TURNS: tuple[Callable[[DialogueBuilder], object], ...] = (
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


def _mixed(builder: DialogueBuilder) -> None:
    for _ in range(1 + _count(builder, 4, 4, 3)):
        r = builder.rand()
        asked = (
            builder.clip is not None
            and builder.clip.objects
            and not builder.clip.skull
            and builder.turns[-1].video is not None
        )
        if builder.offer is not None and r < 0.5:
            outside.answer_offer(builder)
        elif asked and r < 0.5:
            _ask(builder)
        elif builder.turns and builder.turns[-1].meta["sends_video"] and r < 0.35:
            if series.change(builder) is None:
                recall.recall(builder)
        else:
            builder.pick(_TURNS)(builder)


def _written_harmless(builder: DialogueBuilder) -> None:
    for _ in range(_count(builder, 5, 3)):
        written.written_harmless(builder)


def _written_unsafe(builder: DialogueBuilder) -> None:
    written.written_unsafe(builder)
    if builder.offer is not None and builder.chance(0.2):
        outside.answer_offer(builder)
    elif builder.chance(0.3):
        written.written_harmless(builder)


def _written_request(builder: DialogueBuilder) -> None:
    for _ in range(_count(builder, 3, 1)):
        written.written_request(builder)


def _at_times_hurried(make: Callable[[DialogueBuilder], None]) -> Callable[[DialogueBuilder], None]:
    """The same kind, one dialogue in four typed in a hurry."""

    def typed(builder: DialogueBuilder) -> None:
        make(builder)
        if builder.chance(0.25):
            plain.retype(builder)

    return typed


def _careless(builder: DialogueBuilder) -> None:
    """A dialogue of another kind, typed in a hurry."""
    builder.pick(_RETYPED)(builder)
    plain.retype(builder)


_RETYPED = (
    _describe, _question, _talk, _request, _implied, _series, _about, _outside, _unsafe, _harmless, _mixed,
)  # fmt: skip

KINDS: dict[str, tuple[Callable[[DialogueBuilder], None], float]] = {
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
    # Of weight 0: the natural mixture, and with it what is measured on it, stays what it was without these
    # kinds. Training names them (g4v.shapes.recipe.mixture).
    "compare": (_compare, 0),
    "plain_question": (plain.plain_question, 0),
    "plain_request": (plain.plain_request, 0),
    "careless": (_careless, 0),
    "written_harmless": (_at_times_hurried(_written_harmless), 0),
    "written_unsafe": (_at_times_hurried(_written_unsafe), 0),
    "written_question": (_at_times_hurried(written.written_question), 0),
    "written_request": (_at_times_hurried(_written_request), 0),
}
