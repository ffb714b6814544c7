"""What every turn in plain words is made with: a form is chosen, filled in, and typed as people type."""

from __future__ import annotations

from g4v.data.wordings import capital
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.forms import FORMS
from g4v.shapes.dialogues.forms.typing import misspell, typed, with_greetings
from g4v.shapes.dialogues.questions import subject
from g4v.shapes.world.world import COLOURS, MOTION_PHRASES, MOTIONS, SHAPES, Object, Scene, article

ATTRIBUTES = {"colour": COLOURS, "shape": SHAPES, "motion": MOTIONS}
_ANY = (
    "it", "it", "it", "this", "that", "the thing", "the object", "the shape", "the figure", "the item",
    "this thing", "that thing", "this object", "this one", "that one", "the only object",
)  # fmt: skip
_CAREFUL = 0.45  # share of texts in which nothing is misspelt


def typed_carelessly(builder: DialogueBuilder, text: str) -> str:
    """The text typed by someone in a hurry, or carefully."""
    text = with_greetings(text, builder.rand)
    if not builder.chance(_CAREFUL):
        text = misspell(text, builder.rand)
    return typed(text, builder.rand)


def ask(
    builder: DialogueBuilder,
    intent: str,
    answer: str,
    attribute: str | None,
    expected: object,
    slots: dict[str, str] | None = None,
    told: str | None = None,
    needs: str = "",
    scene: Scene | None = None,
) -> Turn:
    """A turn of an intent of the forms.

    told: what the answer calls the object that the slot x names, put for "{}" in the answer; "it" where the
    form does not name it. needs: a slot that the form must have. scene: the clip that comes with the turn.
    meta also has "family", the form's family, "form", the text before it was typed, and "slots".
    """
    form = FORMS.sample(builder.rand, intent, builder.split, slots or {}, needs)
    if told is not None:
        answer = answer.format(told if "x" in form.slots else "it")
    meta: dict[str, object] = {"family": form.family, "form": form.text, "slots": form.slots}
    if attribute is not None:
        meta |= {"attribute": attribute, "expected": expected}
    user = typed_carelessly(builder, form.text)
    return builder.add(f"plain-{intent}", user, capital(answer), scene, **meta)


def name_of(builder: DialogueBuilder, scene: Scene, without: str) -> tuple[Object, str, str] | None:
    """An object, how the question names it and how the answer does; None where nothing tells it apart."""
    obj = builder.pick(scene.objects)
    if len(scene.objects) == 1 and builder.chance(0.65):
        return obj, builder.pick(_ANY), "it"
    asked, told = subject(builder, scene, obj, without)
    return (obj, asked, told) if asked else None


def needs_name(scene: Scene) -> str:
    """The slot that a form must have to be about one object of the scene."""
    return "x" if len(scene.objects) > 1 else ""


def said(obj: Object, attribute: str) -> str:
    """The value as an answer says it: "red", "a star", "moving left"."""
    if attribute == "shape":
        return f"{article(obj.shape)} {obj.shape}"
    return value_of(obj, attribute)


def value_of(obj: Object, attribute: str) -> str:
    """The value as meta has it: "red", "star", "moving left"."""
    return {"colour": obj.colour, "shape": obj.shape, "motion": MOTION_PHRASES[obj.motion]}[attribute]
