"""Questions in plain words on a clip: attributes, the whole, choices."""

from __future__ import annotations

from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.describe import NUMBERS, count_told, statement
from g4v.shapes.dialogues.phrases import background_word, motion_words
from g4v.shapes.dialogues.plain.asking import ATTRIBUTES, ask, name_of, needs_name, said, value_of
from g4v.shapes.world import world
from g4v.shapes.world.world import BACKGROUNDS, MOTION_PHRASES, Scene, article


def ask_attribute(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """The colour, the shape or the motion of an object, or of all that there is."""
    attribute = builder.pick(tuple(ATTRIBUTES))
    if builder.chance(0.4):
        return _ask_any(builder, scene, attribute)
    named = name_of(builder, scene, attribute)
    if named is None:
        return None
    obj, asked, told = named
    return ask(
        builder, attribute, f"{{}} is {said(obj, attribute)}.", attribute, value_of(obj, attribute),
        {"x": asked}, told, needs_name(scene),
    )  # fmt: skip


def _ask_any(builder: DialogueBuilder, scene: Scene, attribute: str) -> Turn:
    """An attribute of what is there, without naming an object."""
    stated = [said(obj, attribute) for obj in scene.objects]
    values = [value_of(obj, attribute) for obj in scene.objects]
    expected: object = values[0] if len(values) == 1 else list(dict.fromkeys(values))
    if len(stated) == 1:
        answer = f"It is {stated[0]}."
    elif attribute == "motion":
        parts = [f"the {o.colour} {o.shape} is {MOTION_PHRASES[o.motion]}" for o in scene.objects]
        answer = " and ".join(parts) + "."
    elif values[0] == values[1]:
        answer = f"They are both {values[0]}{'s' if attribute == 'shape' else ''}."
    else:
        answer = f"They are {' and '.join(stated)}."
    return ask(builder, f"any-{attribute}", answer, attribute, expected)


def ask_whole(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """The background, the number of objects, everything, or what it is that moves so."""
    r = builder.rand()
    if r < 0.27:
        behind = builder.pick(("it", "the object", "the shape", f"the {builder.pick(scene.objects).shape}"))
        answer = f"The background is {scene.background}."
        return ask(builder, "background", answer, "background", scene.background, {"x": behind})
    if r < 0.46:
        return ask(builder, "count", count_told(scene), "count", NUMBERS[len(scene.objects)])
    if r < 0.84:
        return ask(builder, "describe", f"{statement(scene)}.", "describe", world.caption(scene))
    obj = builder.pick(scene.objects)
    if sum(other.motion == obj.motion for other in scene.objects) > 1:
        return None
    slots = {form: motion_words(builder, obj.motion, long) for form, long in (("v", "ing"), ("s", "s"))}
    answer = f"The {obj.colour} {obj.shape} is {MOTION_PHRASES[obj.motion]}."
    return ask(builder, "what-moves", answer, "shape", obj.shape, slots)


def ask_choice(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """A question with two to four choices, one of which is right."""
    r = builder.rand()
    if r < 0.12:
        options = choices(builder, BACKGROUNDS, str(scene.background), 3)
        words = [background_word(builder, option) for option in options]
        slots = {"l": listed(builder, words), "a": article(words[0])}
        answer = f"The background is {scene.background}."
        return ask(builder, "background-choice", answer, "background", scene.background, slots)
    attribute = builder.pick(tuple(ATTRIBUTES))
    named = name_of(builder, scene, attribute)
    if named is None:
        return None
    obj, asked, told = named
    words = choices(builder, ATTRIBUTES[attribute], getattr(obj, attribute), 4)
    if attribute == "motion":
        words = [motion_words(builder, word, "ing") for word in words]
    elif attribute == "shape" and builder.chance(0.8):
        words = [f"{article(word)} {word}" for word in words]
    slots = {"x": asked, "l": listed(builder, words), "n": attribute}
    if attribute == "colour" and builder.chance(0.5):
        slots["n"] = "color"
    return ask(
        builder, "named-choice" if r > 0.75 else "choice", f"{{}} is {said(obj, attribute)}.", attribute,
        value_of(obj, attribute), slots, told, needs_name(scene),
    )  # fmt: skip


def choices(builder: DialogueBuilder, values: tuple[str, ...], right: str, most: int) -> list[str]:
    """The right value among one to `most` - 1 wrong ones, in any order."""
    wrong = [value for value in values if value != right]
    builder.rng.shuffle(wrong)
    options = [right, *wrong[: 1 + int(builder.rand() * (most - 1))]]
    builder.rng.shuffle(options)
    return options


def listed(builder: DialogueBuilder, words: list[str]) -> str:
    """The words with commas and "or" between them, as people put choices."""
    *rest, last = words
    if len(words) == 2:
        return f"{rest[0]}{builder.pick((' or ', ' or ', ', or ', ' or is it '))}{last}"
    if builder.chance(0.2):
        return " or ".join(words)
    return ", ".join(rest) + builder.pick((" or ", ", or ", ", ")) + last


QUESTIONS = ((ask_attribute, 8), (ask_whole, 8), (ask_choice, 7))
