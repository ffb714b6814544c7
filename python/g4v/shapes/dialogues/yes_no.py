"""Yes/no questions about a clip."""

from __future__ import annotations

from g4v.data.wordings import Wordings, capital
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.phrases import background_word, motion_words
from g4v.shapes.dialogues.questions import other_than, subject
from g4v.shapes.world.world import BACKGROUNDS, COLOURS, MOTION_PHRASES, MOTIONS, SHAPES, Scene

_OPEN = "(||||||and |so |hey, |now |ok, |please, )"
_CLOSE = "(||||||, please| in the clip| in the video| here)"

IS = Wordings(
    "yesno-value",
    """
    {x} is {v}?
    can it be that {x} is {v}?
    could it be that {x} is {v}?
    do you agree that {x} is {v}?
    is {x} {v} or not?
    my friend says that {x} is {v}, is that (right|true)?
    i say that {x} is {v}, is that (right|correct)?
    say yes or no: {x} is {v}
    * do you also see that {x} is {v}?
    * my brother says that {x} is {v}, is he right?
    is {x} {v}?
    is {x} really {v}?
    {x} is {v}, (right|is it not|yes|no|correct)?
    is it (true|right|correct) that {x} is {v}?
    would you say that {x} is {v}?
    can you say if {x} is {v}?
    tell me if {x} is {v}
    i think {x} is {v}, (right|am i right)?
    do you see that {x} is {v}?
    (yes or no, |)is {x} {v}?
    is {x} {v}, yes or no?
    * do you think that {x} is {v}?
    * am i right that {x} is {v}?
    """,
    _OPEN,
    _CLOSE,
)
DOES = Wordings(
    "yesno-motion",
    """
    {x} {s}?
    can it be that {x} {s}?
    do you agree that {x} {s}?
    does {x} {v} or not?
    my friend says that {x} {s}, is that (right|true)?
    i say that {x} {s}, is that (right|correct)?
    say yes or no: {x} {s}
    do you see that {x} {s}?
    * could it be that {x} {s}?
    * my brother says that {x} {s}, is he right?
    does {x} {v}?
    does {x} really {v}?
    can you see if {x} {s}?
    is it (true|right|correct) that {x} {s}?
    tell me if {x} {s}
    i think {x} {s}, (right|am i right)?
    would you say that {x} {s}?
    {x} {s}, (right|yes|correct)?
    does {x} {v}, yes or no?
    * do you think that {x} {s}?
    * am i right that {x} {s}?
    """,
    _OPEN,
    _CLOSE,
)
MOVES = Wordings(
    "yesno-moves",
    """
    (does|can) {x} move?
    is {x} moving?
    is {x} in motion?
    does {x} move at all?
    is {x} moving or standing still?
    tell me if {x} moves
    is there any motion in {x}?
    * does {x} do anything?
    """,
    _OPEN,
    _CLOSE,
)
BACKGROUND_IS = Wordings(
    "yesno-background",
    """
    is the background {v}?
    is the colour of the background {v}?
    is it on a {v} background?
    does it have a {v} background?
    is the background really {v}?
    the background is {v}, (right|correct|yes)?
    is it (true|right) that the background is {v}?
    tell me if the background is {v}
    is there a {v} background?
    * do you think that the background is {v}?
    """,
    _OPEN,
    "(|||, please)",
)
THERE = Wordings(
    "yesno-there",
    """
    does it show {v}?
    is {v} part of the (clip|video)?
    is one of them {v}?
    say yes or no: there is {v}
    is it true that there is {v}?
    can you see if there is {v}?
    * is it right that there is {v}?
    * does the film have {v} in it?
    is there {v}?
    (do|can) you see {v}?
    can you find {v}?
    does the (clip|video) show {v}?
    is {v} (in there|to be seen)?
    does {v} occur?
    have you seen {v}?
    tell me if there is {v}
    * do you notice {v}?
    """,
    _OPEN,
    _CLOSE,
)
ANYTHING = Wordings(
    "yesno-anything",
    """
    (anything|something) {v}?
    is at least one (object|shape|thing) {v}?
    is one of (them|the objects|the shapes) {v}?
    can you see if anything is {v}?
    do you see if anything is {v}?
    is it true that something is {v}?
    say yes or no: something is {v}
    * can you find anything {v}?
    * is it right that something is {v}?
    is (anything|something) {v}?
    is there (anything|something) (that is |){v}?
    (do|can) you see (anything|something) {v}?
    does the (clip|video) show (anything|something) {v}?
    tell me if anything is {v}
    is any (object|shape|thing) {v}?
    * do you notice (anything|something) {v}?
    """,
    _OPEN,
    _CLOSE,
)
# What a clip never shows; the words are known from requests.
THINGS = (
    "dog",
    "cat",
    "car",
    "house",
    "tree",
    "man",
    "woman",
    "bird",
    "flower",
    "ship",
    "robot",
    "heart",
    "cube",
    "cross",
)


def _yes_no(builder: DialogueBuilder, words: Wordings, user: str, yes: bool, answer: str) -> Turn:
    value = "yes" if yes else "no"
    return builder.add(words.name, user, f"{capital(value)}, {answer}.", attribute="yesno", expected=value)


def ask_value(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Is it red? Is it a star? Does it move left?"""
    obj = builder.pick(scene.objects)
    r = builder.rand()
    attribute = "colour" if r < 0.35 else "shape" if r < 0.6 else "motion"
    asked, told = subject(builder, scene, obj, attribute)
    if not asked:
        return None
    yes = builder.chance(0.5)
    if attribute == "colour":
        value = obj.colour if yes else other_than(builder, COLOURS, obj.colour)
        return _yes_no(builder, IS, builder.say(IS, x=asked, v=value), yes, f"{told} is {obj.colour}")
    if attribute == "shape":
        value = obj.shape if yes else other_than(builder, SHAPES, obj.shape)
        return _yes_no(builder, IS, builder.say(IS, x=asked, v=f"a {value}"), yes, f"{told} is a {obj.shape}")
    phrase = MOTION_PHRASES[obj.motion]
    if builder.chance(0.2):
        user = builder.say(MOVES, x=asked)
        return _yes_no(builder, MOVES, user, obj.motion != "still", f"{told} is {phrase}")
    value = obj.motion if yes else other_than(builder, MOTIONS, obj.motion)
    if builder.chance(0.5) or value == "still":
        user, words = builder.say(IS, x=asked, v=motion_words(builder, value, "ing")), IS
    else:
        user, words = (
            builder.say(
                DOES, x=asked, v=motion_words(builder, value, "inf"), s=motion_words(builder, value, "s")
            ),
            DOES,
        )
    return _yes_no(builder, words, user, yes, f"{told} is {phrase}")


def ask_background_is(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Whether the background has a colour."""
    if scene.background is None:
        return None
    yes = builder.chance(0.5)
    value = scene.background if yes else other_than(builder, BACKGROUNDS, scene.background)
    user = builder.say(BACKGROUND_IS, v=background_word(builder, value))
    return _yes_no(builder, BACKGROUND_IS, user, yes, f"the background is {scene.background}")


def ask_there(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Is there a star? Is there anything red?"""
    obj = builder.pick(scene.objects)
    if builder.chance(0.1):
        thing = builder.pick(THINGS)
        return _yes_no(builder, THERE, builder.say(THERE, v=f"a {thing}"), False, f"there is no {thing}")
    if builder.chance(0.5):
        shape = obj.shape if builder.chance(0.55) else builder.pick(SHAPES)
        found = [o for o in scene.objects if o.shape == shape]
        answer = (
            f"there is no {shape}"
            if not found
            else f"there is a {shape}"
            if len(found) == 1
            else f"there are two {shape}s"
        )
        return _yes_no(builder, THERE, builder.say(THERE, v=f"a {shape}"), bool(found), answer)
    if builder.chance(0.5):
        colour = obj.colour if builder.chance(0.55) else builder.pick(COLOURS)
        found = [o for o in scene.objects if o.colour == colour]
        value = colour
        state = colour
    else:
        motion = obj.motion if builder.chance(0.55) else builder.pick(MOTIONS)
        found = [o for o in scene.objects if o.motion == motion]
        value, state = motion_words(builder, motion, "ing"), MOTION_PHRASES[motion]
    if not found:
        answer = f"nothing is {state}"
    elif len(found) == len(scene.objects) == 2:
        answer = f"both are {state}"
    elif len(scene.objects) == 1:
        answer = f"the {found[0].shape} is {state}"
    else:
        answer = f"the {found[0].colour} {found[0].shape} is {state}"
    return _yes_no(builder, ANYTHING, builder.say(ANYTHING, v=value), bool(found), answer)


QUESTIONS = ((ask_value, 5), (ask_background_is, 2), (ask_there, 3))
