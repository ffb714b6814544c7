"""Questions about the videos that the assistant has sent."""

from __future__ import annotations

from g4v.data.wordings import Wordings, capital
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.phrases import motion_words
from g4v.shapes.world import world
from g4v.shapes.world.world import Object, Scene, article

RECALL = Wordings(
    "recall",
    """
    what did you (show|send) me?
    what did you just (show|send|make)?
    what was in your (clip|video)?
    what did you make?
    tell me what you (showed|sent) me
    describe what you (showed|sent|made)
    what (was|is) in the (clip|video) you made?
    * describe the (clip|video) you made
    * tell me what was in your (clip|video)
    """,
    "(||||and |so |ok, |thanks, |)",
)
WHICH_OF = Wordings(
    "which-of-the-two",
    """
    which of (the two|them|the two clips|the two videos|your clips|your videos) was {v}?
    which one was {v}?
    which (clip|video) was {v}?
    which of (them|your two clips|the two) was {v} again?
    in which (clip|video) was it {v}?
    was the first or the second one {v}?
    was the first {v}, or the second?
    tell me which (one|clip|video) was {v}
    do you (know|remember) which (one|of them) was {v}?
    * can you say which (one|of the two) was {v}?
    * which of the clips did you make {v}?
    """,
    "(||||and |so |ok, |thanks, |)",
)
CHANGED = Wordings(
    "what-changed",
    """
    what (changed|is different|is new|did you change)?
    what is the difference?
    what is the difference (between|of) (the two|them|both clips)?
    how (are|were) (they|the two|the two clips) different?
    tell me what (changed|is different|you changed)
    tell me the difference
    * what is different between the two (clips|videos)?
    * can you say what changed?
    """,
    "(||||and |so |ok, |thanks, |)",
)


def recall(builder: DialogueBuilder) -> Turn:
    """A question about the last video that the assistant has sent; there must be one."""
    text = world.caption(builder.sent[-1])
    return builder.add(
        RECALL.name, builder.say(RECALL), f"I showed you {text}.", attribute="recall", expected=text
    )


def compare_sent(builder: DialogueBuilder) -> Turn | None:
    """A question about the last two videos, when they show one object each and differ."""
    if len(builder.sent) != 2:
        return None
    a, b = builder.sent
    if len(a.objects) != 1 or len(b.objects) != 1:
        return None
    differing = [
        x for x in ("colour", "shape", "motion") if getattr(a.objects[0], x) != getattr(b.objects[0], x)
    ]
    if not differing:
        return None
    if builder.chance(0.35):
        return _say_difference(builder, a, b, differing)
    attribute = builder.pick(differing)
    place = int(builder.rand() * 2)
    value = getattr((a, b)[place].objects[0], attribute)
    words = motion_words(builder, value, "ing") if attribute == "motion" else value
    said = world.MOTION_PHRASES[value] if attribute == "motion" else value
    if attribute == "shape":
        words = said = f"{article(value)} {value}"
    order = ("first", "second")[place]
    answer = f"The {order} one was {said}."
    return builder.add(
        WHICH_OF.name, builder.say(WHICH_OF, v=words), answer, attribute="recall", expected=order
    )


def _say_difference(builder: DialogueBuilder, a: Scene, b: Scene, differing: list[str]) -> Turn | None:
    if len(differing) > 1 or a.background != b.background:
        return None
    name = differing[0]
    old, new = _value(a.objects[0], name), _value(b.objects[0], name)
    answer = f"{capital(f'the {name}')}: first {old} and then {new}."
    return builder.add(
        CHANGED.name, builder.say(CHANGED), answer, attribute="recall", expected=[name, old, new]
    )


def _value(obj: Object, attribute: str) -> str:
    value = getattr(obj, attribute)
    return world.MOTION_PHRASES[value] if attribute == "motion" else value
