"""Questions in plain words that are answered with yes or no."""

from __future__ import annotations

from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.phrases import background_word, motion_words
from g4v.shapes.dialogues.plain.asking import ATTRIBUTES, ask, name_of, said
from g4v.shapes.dialogues.questions import other_than
from g4v.shapes.world.world import BACKGROUNDS, COLOURS, MOTION_PHRASES, SHAPES, Scene, article


def _verdict(yes: bool) -> tuple[str, str]:
    """The word that opens the answer, and the fact."""
    return ("Yes", "yes") if yes else ("No", "no")


def ask_is(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Whether an object has a value."""
    attribute = builder.pick(tuple(ATTRIBUTES))
    named = name_of(builder, scene, attribute)
    if named is None:
        return None
    obj, asked, told = named
    own = getattr(obj, attribute)
    yes = builder.chance(0.5)
    value = own if yes else other_than(builder, ATTRIBUTES[attribute], own)
    word, expected = _verdict(yes)
    intent, slots = "is", {"x": asked, "c": value}
    if attribute == "shape":
        slots["c"] = f"{article(value)} {value}"
    elif attribute == "motion" and (value == "still" or builder.chance(0.5)):
        slots["c"] = motion_words(builder, value, "ing")
    elif attribute == "motion":
        intent = "does"
        slots |= {form: motion_words(builder, value, long) for form, long in (("v", "inf"), ("s", "s"))}
    answer = f"{word}, {{}} is {said(obj, attribute)}."
    return ask(builder, intent, answer, "yesno", expected, slots, told, "x")


def ask_moves(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Whether an object moves at all: growing, shrinking and spinning count."""
    named = name_of(builder, scene, "motion")
    if named is None:
        return None
    obj, asked, told = named
    word, expected = _verdict(obj.motion != "still")
    answer = f"{word}, {{}} is {MOTION_PHRASES[obj.motion]}."
    return ask(builder, "moves", answer, "yesno", expected, {"x": asked}, told, "x")


def ask_background_is(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Whether the background has a colour."""
    own = str(scene.background)
    yes = builder.chance(0.5)
    value = background_word(builder, own if yes else other_than(builder, BACKGROUNDS, own))
    word, expected = _verdict(yes)
    slots = {"c": value, "a": article(value), "x": builder.pick(("it", "the object", "the clip"))}
    return ask(builder, "background-is", f"{word}, the background is {own}.", "yesno", expected, slots)


def ask_anything(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Whether anything has a colour or moves so."""
    obj = builder.pick(scene.objects)
    attribute = builder.pick(("colour", "motion"))
    own = getattr(obj, attribute)
    value = own if builder.chance(0.55) else builder.pick(ATTRIBUTES[attribute])
    found = [o for o in scene.objects if getattr(o, attribute) == value]
    state = MOTION_PHRASES.get(value, value)
    if not found:
        reason = f"nothing is {state}"
    elif len(found) == len(scene.objects) == 2:
        reason = f"both are {state}"
    elif len(scene.objects) == 1:
        reason = f"the {found[0].shape} is {state}"
    else:
        reason = f"the {found[0].colour} {found[0].shape} is {state}"
    word, expected = _verdict(bool(found))
    slots = {"c": motion_words(builder, value, "ing") if attribute == "motion" else value}
    return ask(builder, "anything", f"{word}, {reason}.", "yesno", expected, slots)


def ask_there(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Whether there is a shape, or a shape of a colour."""
    obj = builder.pick(scene.objects)
    shape = obj.shape if builder.chance(0.55) else builder.pick(SHAPES)
    found, thing = [o for o in scene.objects if o.shape == shape], shape
    if builder.chance(0.3):
        colour = obj.colour if builder.chance(0.7) else builder.pick(COLOURS)
        found, thing = [o for o in found if o.colour == colour], f"{colour} {shape}"
    a_thing = f"{article(thing)} {thing}"
    if not found:
        reason = f"there is no {thing}"
    else:
        reason = f"there is {a_thing}" if len(found) == 1 else f"there are two {thing}s"
    word, expected = _verdict(bool(found))
    return ask(builder, "there", f"{word}, {reason}.", "yesno", expected, {"c": a_thing, "p": f"{thing}s"})


QUESTIONS = ((ask_is, 6), (ask_there, 3), (ask_moves, 1), (ask_background_is, 2), (ask_anything, 2))
