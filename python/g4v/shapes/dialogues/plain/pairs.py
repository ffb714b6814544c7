"""Questions in plain words that compare two objects or ask for the other one."""

from __future__ import annotations

from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.plain.asking import ATTRIBUTES, ask, said, value_of
from g4v.shapes.world.world import SHAPES, Scene

ONLY_ONE = "There is only one object, so I cannot compare."
NO_OTHER = "There is only one object in the clip."
_KINDS = {
    "colour": ("colour", "color", "colours", "colors"),
    "shape": ("shape", "shapes"),
    "motion": ("motion", "motions", "direction", "directions", "movement", "movements"),
}


def ask_same(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Whether both have the same colour, shape or motion; whether they move alike; whether both move."""
    intent = builder.pick(("same", "same", "same", "same-way", "both"))
    attribute = builder.pick(tuple(ATTRIBUTES)) if intent == "same" else "motion"
    slots = {"k": builder.pick(_KINDS[attribute])}
    if len(scene.objects) == 1:
        return ask(builder, intent, ONLY_ONE, "count", "one", slots)
    if intent == "both":
        return _ask_both(builder, scene)
    first, second = scene.objects
    values = [value_of(first, attribute), value_of(second, attribute)]
    same = values[0] == values[1]
    if same:
        reason = f"both are {values[0]}{'s' if attribute == 'shape' else ''}"
    else:
        reason = f"one is {said(first, attribute)} and one is {said(second, attribute)}"
    turn = ask(builder, intent, reason, "compare", [], slots)
    yes = same != asks_for_difference(str(turn.meta["form"]))
    word = "yes" if yes else "no"
    turn.answer = f"{word.capitalize()}, {reason}."
    turn.meta["expected"] = [word, *dict.fromkeys(values)]
    return turn


def asks_for_difference(text: str) -> bool:
    """Whether "yes" says that the two differ."""
    return any(part in text for part in ("differ", "difference"))


def _ask_both(builder: DialogueBuilder, scene: Scene) -> Turn:
    still = [obj for obj in scene.objects if obj.motion == "still"]
    if not still:
        return ask(builder, "both", "Yes, both are moving.", "compare", ["yes", "both"])
    if len(still) == 2:
        answer, expected = "No, both are standing still.", ["no", "both", "standing still"]
    else:
        answer = f"No, the {still[0].colour} {still[0].shape} is standing still."
        expected = ["no", still[0].colour, still[0].shape, "standing still"]
    return ask(builder, "both", answer, "compare", expected)


def ask_other(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """After a question on one of two objects: the same of the other one. Of one object: there is no other."""
    if len(scene.objects) == 1:
        return ask(builder, "other", NO_OTHER, "count", "one", {"n": builder.pick(tuple(ATTRIBUTES))})
    last = builder.turns[-1].meta if builder.turns else {}
    attribute, value = last.get("attribute"), last.get("expected")
    if attribute not in ATTRIBUTES or not isinstance(value, str) or "x" not in last.get("slots", ()):
        return None
    others = [obj for obj in scene.objects if value_of(obj, attribute) != value]
    if len(others) != 1:
        return None
    answer = f"The other one is {said(others[0], attribute)}."
    value = value_of(others[0], attribute)
    return ask(builder, "other", answer, attribute, value, {"n": attribute})


def ask_missing(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """A question about a shape that is not in the clip."""
    absent = [shape for shape in SHAPES if all(obj.shape != shape for obj in scene.objects)]
    shape = builder.pick(absent)
    attribute = builder.pick(("colour", "motion"))
    return ask(
        builder,
        attribute,
        f"There is no {shape} in the clip.",
        "count",
        "no",
        {"x": f"the {shape}"},
        needs="x",
    )


QUESTIONS = ((ask_same, 6), (ask_other, 3), (ask_missing, 1))
