"""Dialogues in plain words: questions and requests in the forms of `g4v.shapes.dialogues.forms`.

Answers are those of the other dialogues. What is understood and cannot be answered is told: an object that is
not in the clip, a second one where there is one, a clip where none was sent.
"""

from __future__ import annotations

from dataclasses import replace

from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.foreign import KNOWN, NO_SHAPE
from g4v.shapes.dialogues.forms import FORMS
from g4v.shapes.dialogues.forms.typing import misspell, typed
from g4v.shapes.dialogues.plain import pairs, questions, verdicts, wishes
from g4v.shapes.dialogues.plain.asking import ask
from g4v.shapes.dialogues.safety import UNSAFE_SIGN
from g4v.shapes.world.world import Scene

__all__ = ["FORMS", "plain_question", "plain_request", "retype"]

_QUESTIONS = (*questions.QUESTIONS, *verdicts.QUESTIONS, *pairs.QUESTIONS)
_ASK = tuple(make for make, weight in _QUESTIONS for _ in range(weight))
_ABOUT_ANY_CLIP = ("describe", "any-colour", "any-shape", "any-motion", "count", "background")
_NO_CLIP = "There is no clip yet. Please send me one."


def _ask(builder: DialogueBuilder, scene: Scene) -> Turn:
    """A question that fits the clip."""
    while True:
        turn = builder.pick(_ASK)(builder, scene)
        if turn is not None:
            return turn


def plain_question(builder: DialogueBuilder) -> None:
    """One to four questions about a clip; a few are about none, or one that must not be talked about."""
    r = builder.rand()
    if r < 0.02:
        ask(builder, builder.pick(_ABOUT_ANY_CLIP), _NO_CLIP, None, None, {"x": "it"})
        return
    if r < 0.1:
        _ask_of_other_clip(builder)
        return
    scene = builder.new_clip()
    _ask(builder, scene).video = scene
    for _ in range(int(builder.rand() * 4)):
        _ask(builder, scene)


def _ask_of_other_clip(builder: DialogueBuilder) -> None:
    """A question about a clip without shapes, or with the unsafe sign."""
    intent = builder.pick(_ABOUT_ANY_CLIP)
    if builder.chance(0.5):
        builder.clip = Scene((), foreign=True)
        ask(builder, intent, f"{NO_SHAPE} {KNOWN}", None, None, {"x": "it"}, scene=builder.clip)
        return
    builder.clip = replace(builder.new_clip(), skull=True)
    answer = f"{UNSAFE_SIGN} Please send me another clip." if builder.chance(0.6) else UNSAFE_SIGN
    ask(builder, intent, answer, None, None, {"x": "it"}, scene=builder.clip).meta["unsafe"] = True


def plain_request(builder: DialogueBuilder) -> None:
    """One or two requests for videos."""
    wishes.wish(builder)
    if builder.chance(0.3):
        wishes.wish(builder)


_AS_THEY_ARE = ("gibberish", "injected-tags")


def retype(builder: DialogueBuilder) -> None:
    """Types the user's texts of the dialogue anew, in a hurry; gibberish and tags stay as they are."""
    for turn in builder.turns:
        if turn.meta["intent"] not in _AS_THEY_ARE:
            text = turn.user.rstrip(".!").lower()
            turn.user = typed(misspell(text, builder.rand, 0.07), builder.rand)
