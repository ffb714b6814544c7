"""Questions on one attribute of a clip. The first sentence of every answer states the fact and no other value
of the same attribute; a yes/no answer begins with that word.
"""

from __future__ import annotations

from g4v.data.wordings import Wordings, capital
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.phrases import motion_words
from g4v.shapes.world import world
from g4v.shapes.world.world import MOTION_PHRASES, MOTIONS, Object, Scene

_OPEN = "(||||||and |so |hey, |now |ok, |please, )"
_CLOSE = "(||||||, please| in the clip| in the video| here)"

COLOUR = Wordings(
    "ask-colour",
    """
    what can you say about the colour of {x}?
    i would like to know the colour of {x}
    what colour would you call {x}?
    {x}: which colour?
    in (what|which) colour is {x}?
    do you see the colour of {x}?
    give me the colour of {x}
    how would you call the colour of {x}?
    * in which colour do you see {x}?
    * i need the colour of {x}
    (what|which) colour (is|has) {x}?
    what's the colour of {x}?
    what is the colour of {x}?
    (what|which) color is {x}?
    what is the color of {x}?
    tell me the colour of {x}
    name the colour of {x}
    i want to know the colour of {x}
    (can|could) you tell me the colour of {x}?
    {x} has which colour?
    do you know (what|which) colour {x} (is|has)?
    say (what|which) colour {x} (is|has)
    what colour does {x} have?
    colour of {x}?
    * (can|could) you say (what|which) colour {x} (is|has)?
    * which colour do you see for {x}?
    * and the colour of {x}?
    """,
    _OPEN,
    _CLOSE,
)
COLOUR_OR = Wordings(
    "ask-colour-or",
    """
    is {x} {c} or {d}?
    is {x} {c} or is it {d}?
    what is {x}, {c} or {d}?
    is {x} more {c} or more {d}?
    is the colour of {x} {c} or {d}?
    {x}: {c} or {d}?
    would you say that {x} is {c} or {d}?
    * do you think that {x} is {c} or {d}?
    """,
    _OPEN,
)
SHAPE = Wordings(
    "ask-shape",
    """
    what can you say about the shape of {x}?
    i would like to know the shape of {x}
    what would you call the shape of {x}?
    {x}: which shape?
    do you see the shape of {x}?
    give me the shape of {x}
    (what|which) geometric (shape|form) is {x}?
    * i need the shape of {x}
    * {x} is which kind of shape?
    (what|which) shape (is|has) {x}?
    what is the shape of {x}?
    what's the shape of {x}?
    tell me the shape of {x}
    name the shape of {x}
    what (kind|sort) of shape is {x}?
    what form does {x} have?
    i want to know the shape of {x}
    (can|could) you tell me the shape of {x}?
    do you know (what|which) shape {x} (is|has)?
    {x} has which shape?
    what shape does {x} have?
    say (what|which) shape {x} (is|has)
    * (can|could) you say (what|which) shape {x} (is|has)?
    * what sort of form does {x} have?
    """,
    _OPEN,
    _CLOSE,
)
SHAPE_OR = Wordings(
    "ask-shape-or",
    """
    is {x} a {c} or a {d}?
    is {x} a {c} or is it a {d}?
    what is {x}, a {c} or a {d}?
    is the shape of {x} a {c} or a {d}?
    {x}: a {c} or a {d}?
    would you say that {x} is a {c} or a {d}?
    * do you think that {x} is a {c} or a {d}?
    """,
    _OPEN,
)
MOTION_OR = Wordings(
    "ask-motion-or",
    """
    is {x} {c} or {d}?
    is {x} {c} or is it {d}?
    what is {x} doing, {c} or {d}?
    {x}: {c} or {d}?
    would you say that {x} is {c} or {d}?
    * do you think that {x} is {c} or {d}?
    """,
    _OPEN,
)
MOTION_OF = Wordings(
    "ask-motion",
    """
    is {x} doing anything, and what?
    what motion does {x} make?
    what is going on with {x}?
    what is {x} up to?
    where to does {x} (go|move)?
    to the left or to the right, where does {x} go?
    what can you say about the motion of {x}?
    i want to know (how|where) {x} moves
    do you see how {x} moves?
    what happens with {x}?
    {x}: which way?
    to (which|what) side is {x} (going|moving)?
    * what can you say about the direction of {x}?
    * i would like to know how {x} moves
    what is {x} doing?
    what does {x} do?
    how does {x} move?
    how is {x} moving?
    which way is {x} (going|moving)?
    which way does {x} (go|move)?
    where does {x} (go|move)?
    where is {x} (going|moving)?
    in (what|which) direction does {x} (go|move)?
    in (what|which) direction is {x} (going|moving)?
    what happens to {x}?
    what is happening to {x}?
    tell me what {x} (does|is doing)
    tell me how {x} moves
    (what|which) motion does {x} (have|make)?
    what is the motion of {x}?
    describe the motion of {x}
    what is the direction of {x}?
    (can|could) you tell me how {x} moves?
    say how {x} moves
    what kind of motion does {x} have?
    does {x} move, grow, shrink, or spin?
    * do you know (how|where) {x} (moves|goes)?
    * (can|could) you say what {x} (does|is doing)?
    * to which side does {x} go?
    """,
    _OPEN,
    _CLOSE,
)
BACKGROUND = Wordings(
    "ask-background",
    """
    what can you say about the background?
    i would like to know the background colour
    i want to know the colour of the background
    give me the colour of the background
    in (what|which) colour is the background?
    on which background is {y} (shown|)?
    on (what|which) background is {y}?
    background colour?
    * i need the background colour
    * in front of which background is {y}?
    (what|which) colour (is|has) the background?
    what is the background?
    what's the background (colour|)?
    what is the colour of the background?
    what color is the background?
    tell me the (background colour|colour of the background)
    how is the background?
    describe the background
    what is behind {y}?
    what colour is behind {y}?
    what do you see in the background?
    (can|could) you tell me the colour of the background?
    which background (is it|has it|do you see)?
    and the background?
    name the background colour
    is the background black, gray, or navy?
    is the background dark or gray?
    what (kind|sort) of background is it?
    * (can|could) you say (what|which) colour the background (is|has)?
    * do you know the colour of the background?
    * what colour do you see behind {y}?
    """,
    _OPEN,
    _CLOSE,
)
_ANY = ("it", "it", "it", "the object", "the shape", "this object", "the thing", "that")


def subject(builder: DialogueBuilder, scene: Scene, obj: Object, without: str) -> tuple[str, str]:
    """How the question names an object and how the answer does, without telling the attribute in question.

    A lone object is often "it"; one of two is told apart by an attribute that they do not share.
    """
    single = len(scene.objects) == 1
    if single and builder.chance(0.55):
        return builder.pick(_ANY), "it"
    others = [other for other in scene.objects if other is not obj]
    ways = []
    if without != "shape" and all(other.shape != obj.shape for other in others):
        ways.append((f"the {obj.shape}", f"the {obj.shape}"))
    if without != "colour" and all(other.colour != obj.colour for other in others):
        ways.append(
            (f"the {obj.colour} {builder.pick(('one', 'object', 'shape', 'thing'))}", f"the {obj.colour} one")
        )
    if without not in ("colour", "shape"):
        ways.append((f"the {obj.colour} {obj.shape}", f"the {obj.colour} {obj.shape}"))
    if without != "motion" and all(other.motion != obj.motion for other in others):
        ing = motion_words(builder, obj.motion, "ing")
        noun = builder.pick(("one", "object", "shape", "thing"))
        joint = builder.pick((" ", " ", " that is "))
        ways.append((f"the {noun}{joint}{ing}", f"the one {MOTION_PHRASES[obj.motion]}"))
    return builder.pick(ways) if ways else ("", "")


def _one(builder: DialogueBuilder, scene: Scene, without: str) -> tuple[Object, str, str]:
    start = int(builder.rand() * len(scene.objects))
    for i in range(len(scene.objects)):
        obj = scene.objects[(start + i) % len(scene.objects)]
        asked, told = subject(builder, scene, obj, without)
        if asked:
            return obj, asked, told
    return scene.objects[0], "", ""


def other_than(builder: DialogueBuilder, values: tuple[str, ...], than: str) -> str:
    """One of the values that is not `than`."""
    while True:
        value = builder.pick(values)
        if value != than:
            return value


def ask_colour(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """A question about the colour of an object; None where it cannot be asked without naming the colour."""
    obj, asked, told = _one(builder, scene, "colour")
    if not asked:
        return None
    wordings, slots = COLOUR, {"x": asked}
    if builder.chance(0.15):
        wordings = COLOUR_OR
        slots["c"], slots["d"] = _choice(builder, world.COLOURS, obj.colour)
    answer = f"{capital(told)} is {obj.colour}."
    return builder.add(
        wordings.name, builder.say(wordings, **slots), answer, attribute="colour", expected=obj.colour
    )


def ask_shape(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Which shape an object has; None where its question cannot be put."""
    obj, asked, told = _one(builder, scene, "shape")
    if not asked:
        return None
    wordings, slots = SHAPE, {"x": asked}
    if builder.chance(0.15):
        wordings = SHAPE_OR
        slots["c"], slots["d"] = _choice(builder, world.SHAPES, obj.shape)
    answer = f"{capital(told)} is a {obj.shape}."
    return builder.add(
        wordings.name, builder.say(wordings, **slots), answer, attribute="shape", expected=obj.shape
    )


def ask_motion(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """What an object does; None where its question cannot be put."""
    obj, asked, told = _one(builder, scene, "motion")
    if not asked:
        return None
    wordings, slots = MOTION_OF, {"x": asked}
    if builder.chance(0.15):
        wordings = MOTION_OR
        pair = _choice(builder, MOTIONS, obj.motion)
        slots["c"], slots["d"] = (motion_words(builder, motion, "ing") for motion in pair)
    phrase = MOTION_PHRASES[obj.motion]
    answer = f"{capital(told)} is {phrase}."
    return builder.add(
        wordings.name, builder.say(wordings, **slots), answer, attribute="motion", expected=phrase
    )


def ask_background(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """A question about the colour of the background."""
    behind = builder.pick(("it", "the object", f"the {builder.pick(scene.objects).shape}"))
    return builder.add(
        BACKGROUND.name,
        builder.say(BACKGROUND, y=behind),
        f"The background is {scene.background}.",
        attribute="background",
        expected=scene.background,
    )


def _choice(builder: DialogueBuilder, values: tuple[str, ...], right: str) -> tuple[str, str]:
    """The right value and a wrong one, in any order."""
    wrong = other_than(builder, values, right)
    return (right, wrong) if builder.chance(0.5) else (wrong, right)


QUESTIONS = ((ask_colour, 4), (ask_shape, 4), (ask_motion, 5), (ask_background, 3))
