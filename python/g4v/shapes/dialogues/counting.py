"""Questions about the number of objects in a clip."""

from __future__ import annotations

from g4v.data.wordings import Wordings
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.describe import NUMBERS, count_told
from g4v.shapes.world.world import COLOURS, SHAPES, Scene

_OPEN = "(||||||and |so |hey, |now |ok, |please, )"
_CLOSE = "(||||||, please| in the clip| in the video| here)"

COUNT = Wordings(
    "count",
    """
    is it one or two?
    are there (one or two|two|more) (objects|shapes|things)?
    is there (only one|more than one|just one) (object|shape|thing)?
    say how many (objects|shapes|things) you see
    i want to know how many (objects|shapes|things) there are
    what is the count( of objects| of shapes|)?
    give me the number of (objects|shapes|things)
    * say how many (objects|shapes) are shown
    * how large is the number of (objects|shapes)?
    how many (objects|shapes|things) (are there|do you see|are shown|move)?
    how many (objects|shapes|things) are (there|here|shown)?
    how many (objects|shapes|things) does the (clip|video) show?
    count the (objects|shapes|things)
    count them
    how many are there?
    how many (objects|shapes)?
    what is the number of (objects|shapes|things)?
    tell me how many (objects|shapes|things) there are
    is there one (object|shape|thing) or are there two?
    one (object|shape|thing) or two?
    tell me the number of (objects|shapes|things)
    (can|could) you count the (objects|shapes|things)?
    * how many (objects|shapes|things) (can|do) you count?
    * do you know how many (objects|shapes|things) there are?
    """,
    _OPEN,
    _CLOSE,
)
COUNT_OF = Wordings(
    "count-of",
    """
    how many {v} (are there|do you see|are shown)?
    how many {v} does the (clip|video) show?
    how many {v}?
    count the {v}
    tell me how many {v} there are
    what is the number of {v}?
    (can|could) you count the {v}?
    * how many {v} can you count?
    """,
    _OPEN,
    _CLOSE,
)


def ask_count(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """How many objects there are."""
    if builder.chance(0.65):
        value = NUMBERS[len(scene.objects)]
        return builder.add(
            COUNT.name, builder.say(COUNT), count_told(scene), attribute="count", expected=value
        )
    obj = builder.pick(scene.objects)
    if builder.chance(0.5):
        shape = obj.shape if builder.chance(0.7) else builder.pick(SHAPES)
        number, noun = sum(o.shape == shape for o in scene.objects), shape
    else:
        colour = obj.colour if builder.chance(0.7) else builder.pick(COLOURS)
        number, noun = sum(o.colour == colour for o in scene.objects), f"{colour} object"
    value = NUMBERS[number]
    answer = f"There is one {noun}." if number == 1 else f"There are {value} {noun}s."
    return builder.add(
        COUNT_OF.name, builder.say(COUNT_OF, v=noun + "s"), answer, attribute="count", expected=value
    )


QUESTIONS = ((ask_count, 3),)
