"""How users put objects, motions and backgrounds in words; every wording means one normal form."""

from __future__ import annotations

from dataclasses import dataclass

from g4v.data.wordings import Wordings
from g4v.shapes.dialogues.builder import DialogueBuilder
from g4v.shapes.world import world
from g4v.shapes.world.world import Object, Scene, article

_DIRECTIONS = ("left", "right", "up", "down")
_VERBS = {
    "ing": "moving|moving|moving|going|sliding",
    "s": "moves|moves|goes|slides",
    "inf": "move|move|go|slide",
}


def _direction(motion: str, form: str) -> str:
    verb = _VERBS[form]
    if motion in ("left", "right"):
        return f"({verb}) ({motion}|{motion}|to the {motion}|to the {motion}|towards the {motion})"
    other = {
        "up": {"ing": "rising|going upwards", "s": "rises|goes upwards", "inf": "rise|go upwards"},
        "down": {"ing": "falling|sinking", "s": "falls|sinks", "inf": "fall|sink"},
    }[motion][form]
    return f"(({verb}) ({motion}|{motion}|{motion}wards)|({verb}) {motion}|{other})"


_CHANGES = {
    "growing": {
        "ing": "(growing|growing|getting bigger|getting larger|becoming bigger)",
        "s": "(grows|grows|gets bigger|gets larger|becomes bigger)",
        "inf": "(grow|grow|get bigger|get larger|become bigger)",
    },
    "shrinking": {
        "ing": "(shrinking|shrinking|getting smaller|becoming smaller)",
        "s": "(shrinks|shrinks|gets smaller|becomes smaller)",
        "inf": "(shrink|shrink|get smaller|become smaller)",
    },
    "spinning": {
        "ing": "(spinning|spinning|rotating|turning|turning around)",
        "s": "(spins|spins|rotates|turns|turns around)",
        "inf": "(spin|spin|rotate|turn|turn around)",
    },
    "still": {
        "ing": "(standing still|standing still|not moving|staying still|staying in place|resting)",
        "s": "(stands still|stands still|does not move|stays still|stays in place|rests)",
        "inf": "(stand still|stand still|not move|stay still|stay in place|rest)",
    },
}
MOTION = {
    (motion, form): Wordings(
        f"motion-{motion}-{form}",
        _direction(motion, form) if motion in _DIRECTIONS else _CHANGES[motion][form],
    )
    for motion in world.MOTIONS
    for form in ("ing", "s", "inf")
}
_ADJECTIVES = {
    "growing": ("growing",),
    "shrinking": ("shrinking",),
    "spinning": ("spinning", "rotating", "turning"),
    "still": ("still", "resting"),
    "up": ("rising",),
    "down": ("falling",),
}
_SHAPE_WORDS = {
    "circle": ("circle",) * 9 + ("disc", "round shape"),
    "square": ("square",) * 9 + ("box",),
    "triangle": ("triangle",),
    "star": ("star",),
}
_COLOUR_WORDS = {**{c: (c,) for c in world.COLOURS}, "purple": ("purple",) * 9 + ("violet",)}
_BACKGROUND_WORDS = {
    "black": ("black",),
    "gray": ("gray", "gray", "grey"),
    "navy": ("navy", "navy", "navy", "dark blue"),
}

OBJECT = Wordings(
    "object",
    """
    {a} {c} {n} {ing}
    {a} {c} {n} {ing}
    {a} {c} {n} {ing}
    {a} {c} {n} (that|which) {s}
    {a} {c} {n} that is {ing}
    {an} {n} that is {c} and {s}
    {an} {n}, {c}, that {s}
    {an} {n}, {c}, {ing}
    {an} {c} {n}, {ing}
    {an} {n} in {c} that {s}
    * {an} {n}, {c}, which is {ing}
    * {an} {n} in {c}, {ing}
    """,
)
ADJECTIVE = Wordings(
    "object-adjective", "{am} {m} {c} {n}\n{am} {c} {m} {n}\n{am} {m} {n} in {c}\n* {am} {m} {n}, {c}"
)
NO_MOTION = Wordings(
    "object-no-motion", "{a} {c} {n}\n{an} {n} in {c}\n{an} {n} that is {c}\n* {an} {n}, {c}"
)
NO_COLOUR = Wordings(
    "object-no-colour", "{an} {n} {ing}\n{an} {n} that {s}\n{an} {n} that is {ing}\n* {an} {n} which {s}"
)
NO_SHAPE = Wordings(
    "object-no-shape",
    """
    something {c} {ing}
    something {c} that {s}
    (a|some) {c} (shape|object|thing) {ing}
    something {c} that is {ing}
    * something {c} which {s}
    """,
)
COLOUR_ONLY = Wordings(
    "object-colour", "something {c}\nsomething in {c}\nany {c} (shape|thing|object)\n* something that is {c}"
)
SHAPE_ONLY = Wordings("object-shape", "{an} {n}\nany {n}\n* just {an} {n}")
MOTION_ONLY = Wordings(
    "object-motion",
    """
    something (that|which) {s}
    something {ing}
    (a shape|an object|any shape) (that|which) {s}
    * (a thing|anything) that {s}
    """,
)
BACKGROUND = Wordings(
    "background",
    """
    {x} on a {b} background
    {x} on a {b} background
    {x} with a {b} background
    {x}, on a {b} background
    {x} over a {b} background
    {x} in front of a {b} background
    {x}, {b} background
    {x} on {b}
    {x}, and the background (is|should be) {b}
    * {x}, with a {b} background
    * {x}, in front of a {b} background
    """,
)
PAIR = Wordings(
    "pair", "{x} and {y}\n{x} and {y}\n{x} together with {y}\n{x} next to {y}\n{x}, and {y}\n* {x} with {y}"
)


@dataclass(frozen=True)
class Wish:
    """An object as far as the user names it."""

    colour: str | None = None
    shape: str | None = None
    motion: str | None = None


def complete(wish: Wish) -> Object:
    """The default rule: what is not named is red, a circle, moving right; what spins is a star."""
    shape = wish.shape or ("star" if wish.motion == "spinning" else "circle")
    return Object(wish.colour or "red", shape, wish.motion or "right")


def whole(obj: Object) -> Wish:
    """The wish that names everything of an object."""
    return Wish(obj.colour, obj.shape, obj.motion)


def motion_words(builder: DialogueBuilder, motion: str, form: str) -> str:
    """form: "ing", "s" (it moves) or "inf" (let it move)."""
    return builder.phrase(MOTION[motion, form])


def background_word(builder: DialogueBuilder, background: str) -> str:
    """A word for the background."""
    return builder.pick(_BACKGROUND_WORDS[background])


def words_for(builder: DialogueBuilder, wish: Wish) -> str:
    """A noun phrase for the wish, such as "a square, red, that gets bigger"."""
    slots: dict[str, str] = {}
    if wish.colour:
        slots["c"] = builder.pick(_COLOUR_WORDS[wish.colour])
        slots["a"] = article(slots["c"])
        if builder.chance(0.03):
            slots["a"] = "one"
    if wish.shape:
        slots["n"] = builder.pick(_SHAPE_WORDS[wish.shape])
        slots["an"] = article(slots["n"])
    if wish.motion:
        if wish.colour and wish.shape and wish.motion in _ADJECTIVES and builder.chance(0.3):
            slots["m"] = builder.pick(_ADJECTIVES[wish.motion])
            return _right_article(builder.phrase(ADJECTIVE, am="a", **slots))
        slots["ing"] = motion_words(builder, wish.motion, "ing")
        slots["s"] = motion_words(builder, wish.motion, "s")
    table = {
        (True, True, True): OBJECT,
        (True, True, False): NO_MOTION,
        (False, True, True): NO_COLOUR,
        (True, False, True): NO_SHAPE,
        (True, False, False): COLOUR_ONLY,
        (False, True, False): SHAPE_ONLY,
        (False, False, True): MOTION_ONLY,
    }
    text = builder.phrase(
        table[wish.colour is not None, wish.shape is not None, wish.motion is not None], **slots
    )
    return _right_article(text)


def _right_article(text: str) -> str:
    first, _, rest = text.partition(" ")
    if first in ("a", "an") and rest:
        return f"{article(rest)} {rest}"
    return text


def clause_for(builder: DialogueBuilder, obj: Object) -> str:
    """A clause such as "a red circle goes to the left"."""
    noun = words_for(builder, Wish(obj.colour, obj.shape))
    return f"{noun} {motion_words(builder, obj.motion, 's')}"


def scene_words(builder: DialogueBuilder, wishes: list[Wish], background: str | None) -> str:
    """A noun phrase for one or two objects, with the background where one is wanted."""
    text = words_for(builder, wishes[0])
    if len(wishes) == 2:
        text = builder.phrase(PAIR, x=text, y=words_for(builder, wishes[1]))
    if background:
        text = builder.phrase(BACKGROUND, x=text, b=background_word(builder, background))
    return text


def scene_of(wishes: list[Wish], background: str | None) -> Scene:
    """The scene that the wishes ask for, open attributes filled in."""
    return Scene(tuple(complete(wish) for wish in wishes), background)
