"""Questions about clips that show no shape at all: the answer says so, and what the assistant knows."""

from __future__ import annotations

from g4v.data.wordings import Wordings
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.counting import COUNT
from g4v.shapes.dialogues.describe import ONLY_CLIP, SEE, SHOW, WHAT
from g4v.shapes.dialogues.questions import BACKGROUND, COLOUR, MOTION_OF, SHAPE
from g4v.shapes.dialogues.yes_no import ANYTHING
from g4v.shapes.world.world import Scene

FOREIGN_ASK = Wordings(
    "foreign-ask",
    """
    what animal is (this|that)?
    who is (this|that|in the (video|clip))?
    where (is this|was this filmed)?
    what (do|does) the (people|man|woman|dog|cat|car) (in the video |)do?
    is there (a person|a dog|a car|a tree) in (it|the clip|this video)?
    is it (day|night|summer|winter|raining) (in the video|there|)?
    (sum up|summarise) (the|this) (film|video|clip)
    how does (the|this) (film|video) end?
    * where in the world is this?
    * how many people (are|can you see) in (it|the clip)?
    * what is the weather like (there|in the clip)?
    """,
    "(||||hey, |please |ok, |so, |)",
    "(||||, please|)",
)
NO_SHAPE = "I don't see any shape that I know in this clip."
KNOWN = "I know circles, squares, triangles and stars."


def foreign_clip(builder: DialogueBuilder, attach: bool = True) -> Turn:
    """A question about a clip without shapes."""
    if attach:
        builder.clip = Scene((), foreign=True)
    obj = builder.new_object()
    usual = (WHAT, SEE, SHOW, ONLY_CLIP if attach else WHAT, COLOUR, SHAPE, MOTION_OF, BACKGROUND, COUNT)
    wordings = FOREIGN_ASK if builder.chance(0.25) else builder.pick((*usual, ANYTHING))
    noun = builder.pick(("it", "the object", f"the {obj.shape}"))
    user = builder.say(wordings, x=noun, y=noun, v=builder.pick(("moving", obj.colour)))
    answer = f"{NO_SHAPE} {KNOWN}" if attach else NO_SHAPE
    return builder.add(f"foreign-clip/{wordings.name}", user, answer, builder.clip if attach else None)
