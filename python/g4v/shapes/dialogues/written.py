"""Dialogues in words that come from no grammar, but from lines written one by one.

Ordinary talk and what is refused (g4v.data.requests.written), and questions and wishes about the shapes world
(the files in `written_lines`). Lines that begin with "*" (every tenth) are held out for tests.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from g4v.data.requests import written as talk
from g4v.data.requests.unsafe import ASK_SIGHT
from g4v.data.wordings import Wordings, read_wordings
from g4v.shapes.dialogues import harmless, outside, requests, safety, smalltalk
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.describe import NUMBERS, count_told, statement
from g4v.shapes.dialogues.plain.asking import ATTRIBUTES, said, value_of
from g4v.shapes.dialogues.questions import other_than
from g4v.shapes.world import world
from g4v.shapes.world.world import MOTION_PHRASES, MOTIONS, Object, Scene, article

_read = partial(read_wordings, "g4v.shapes.dialogues")
ASK = {name: _read(f"ask_{name}") for name in (*ATTRIBUTES, "background", "count", "describe")}
CHECK = {name: _read(f"check_{name}") for name in ATTRIBUTES}  # {c} with its article {a}, {n} or {ing}
WISH = {motion: _read(f"wish_{motion}") for motion in MOTIONS}  # {x}: "a red star"
_ASKED = ("colour", "shape", "motion", "background", "background", "count", "describe", "describe")
_CHECKS = 0.35  # share of questions that are answered with yes or no


def written_harmless(builder: DialogueBuilder) -> Turn:
    """A question or a remark on the real world, one that only sounds unsafe, or a wish for a video of it."""
    r = builder.rand()
    if r < 0.38:
        return _answer(builder, talk.QUESTION, builder.pick(smalltalk.UNKNOWN_ANSWERS))
    if r < 0.58:
        return _answer(builder, talk.REMARK, harmless.REMARK_ANSWER)
    if r < 0.82:
        return _answer(builder, talk.LOOK_ALIKE, harmless.ANSWERS["safe-do"])
    user = builder.say(ASK_SIGHT, s=builder.raw(talk.SIGHT))
    return outside.decline(builder, talk.SIGHT.name, user, outside.NO_CLIP)


def written_unsafe(builder: DialogueBuilder) -> Turn:
    """An unsafe request, or a wish for an unsafe video; the answer declines and offers something harmless."""
    r = builder.rand()
    if r < 0.12:
        answer = builder.pick(safety.REFUSED_SELF_HARM)
        return _answer(builder, talk.SELF_HARM, answer, unsafe=True)
    if r < 0.72:
        user = builder.say(talk.UNSAFE)
        return safety.refuse(builder, talk.UNSAFE.name, user, builder.pick(safety.REFUSALS))
    user = builder.say(ASK_SIGHT, s=builder.raw(talk.UNSAFE_SIGHT))
    return safety.refuse(builder, talk.UNSAFE_SIGHT.name, user, builder.pick(safety.REFUSED_VIDEOS))


def written_question(builder: DialogueBuilder) -> None:
    """One to three questions about a clip, which mostly shows one object: no line tells which is meant."""
    scene = builder.new_clip(2 if builder.chance(0.2) else 1)
    for number in range(1 + int(builder.rand() * 3)):
        turn = _ask(builder, scene)
        if number == 0:
            turn.video = scene


def written_request(builder: DialogueBuilder) -> Turn:
    """A wish for a video of one object, whose motion is told in other words than its name."""
    while True:
        obj = builder.new_object()
        scene = Scene((obj,))
        if builder.allows(scene):
            break
    wordings = WISH[obj.motion]
    user = builder.say(wordings, x=f"{article(obj.colour)} {obj.colour} {obj.shape}")
    return builder.send(wordings.name, user, scene, builder.pick(requests.SENDING), requests.after(builder))


def _ask(builder: DialogueBuilder, scene: Scene) -> Turn:
    asked = builder.pick(("count", "describe", "background") if len(scene.objects) > 1 else _ASKED)
    first = scene.objects[0]
    if asked in ATTRIBUTES:
        if builder.chance(_CHECKS):
            return _check(builder, first, asked)
        return _question(builder, asked, f"It is {said(first, asked)}.", value_of(first, asked))
    if asked == "background":
        return _question(builder, asked, f"The background is {scene.background}.", str(scene.background))
    if asked == "count":
        return _question(builder, asked, count_told(scene), NUMBERS[len(scene.objects)])
    return _question(builder, asked, f"{statement(scene)}.", world.caption(scene))


def _question(builder: DialogueBuilder, attribute: str, answer: str, expected: str) -> Turn:
    return _answer(builder, ASK[attribute], answer, attribute=attribute, expected=expected)


def _check(builder: DialogueBuilder, obj: Object, attribute: str) -> Turn:
    own = getattr(obj, attribute)
    yes = builder.chance(0.5)
    value = own if yes else other_than(builder, ATTRIBUTES[attribute], own)
    slots = {"a": article(value), "c": value, "n": value, "ing": MOTION_PHRASES.get(value, value)}
    user = builder.say(CHECK[attribute], **slots)
    answer = f"{'Yes' if yes else 'No'}, it is {said(obj, attribute)}."
    name = CHECK[attribute].name
    return builder.add(name, user, answer, attribute="yesno", expected="yes" if yes else "no")


def _answer(builder: DialogueBuilder, wordings: Wordings, answer: str, **meta: Any) -> Turn:
    return builder.add(wordings.name, builder.say(wordings), answer, **meta)
