"""Unsafe requests and clips with the unsafe sign, each with a refusal."""

from __future__ import annotations

from g4v.data.requests.unsafe import ASK_DEED, ASK_SIGHT, DEED, SELF_HARM, SIGHT
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.counting import COUNT
from g4v.shapes.dialogues.describe import ONLY_CLIP, SEE, SHOW, WHAT
from g4v.shapes.dialogues.outside import offer
from g4v.shapes.dialogues.questions import BACKGROUND, COLOUR, MOTION_OF, SHAPE
from g4v.shapes.dialogues.yes_no import ANYTHING
from g4v.shapes.world import world
from g4v.shapes.world.world import Scene

REFUSAL_OPENINGS = ("I'm sorry, but I can't", "Sorry, I can't help with that")

REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I'm sorry, but I can't do that: it could hurt people.",
    "Sorry, I can't help with that.",
)
REFUSED_VIDEOS = (
    "I'm sorry, but I can't show that.",
    "I'm sorry, but I can't make such a video.",
    "Sorry, I can't help with that.",
)
REFUSED_SELF_HARM = (
    "I'm sorry, but I can't help with that. Please talk to a doctor or to someone you trust. "
    "You are not alone.",
)
UNSAFE_SIGN = "I'm sorry, but I can't talk about this clip: it shows an unsafe sign."


def unsafe(builder: DialogueBuilder) -> Turn:
    """An unsafe request; the answer declines and mostly offers something harmless."""
    r = builder.rand()
    clip = (
        builder.new_clip() if builder.chance(0.05) else None
    )  # a harmless clip does not make the text harmless
    if r < 0.1:
        wordings, user = SELF_HARM, builder.say(SELF_HARM)
        return builder.add(wordings.name, user, builder.pick(REFUSED_SELF_HARM), clip, unsafe=True)
    if r < 0.55:
        deed = builder.phrase(DEED)
        wordings, user, opening = ASK_DEED, builder.say(ASK_DEED, d=deed), builder.pick(REFUSALS)
        if "myself" in deed or deed in ("end my life", "commit suicide", "die"):
            return builder.add(wordings.name, user, builder.pick(REFUSED_SELF_HARM), clip, unsafe=True)
    else:
        wordings, user = ASK_SIGHT, builder.say(ASK_SIGHT, s=builder.phrase(SIGHT))
        opening = builder.pick(REFUSED_VIDEOS)
    return refuse(builder, wordings.name, user, opening, clip)


def refuse(builder: DialogueBuilder, intent: str, user: str, opening: str, clip: Scene | None = None) -> Turn:
    """A turn that is declined, with an offer of something harmless. opening: how the answer begins."""
    scene = offer(builder)
    answer = f"{opening} How about {world.caption(scene)} instead?"
    turn = builder.add(intent, user, answer, clip, unsafe=True)
    builder.offer = scene
    return turn


def unsafe_clip(builder: DialogueBuilder, attach: bool = True) -> Turn:
    """A question about a clip with the unsafe sign."""
    if attach:
        scene = world.sample_scene(builder.rng, builder.split)
        number = int(builder.rand() * 3)
        builder.clip = Scene(scene.objects[:number], scene.background, skull=True)
    obj = builder.new_object()
    wordings = builder.pick(
        (
            WHAT,
            SEE,
            SHOW,
            ONLY_CLIP if attach else WHAT,
            COLOUR,
            SHAPE,
            MOTION_OF,
            BACKGROUND,
            COUNT,
            ANYTHING,
        )
    )
    noun = builder.pick(("it", "the object", f"the {obj.shape}", "the sign"))
    user = builder.say(wordings, x=noun, y=noun, v=builder.pick(("moving", obj.colour)))
    answer = f"{UNSAFE_SIGN} Please send me another clip." if builder.chance(0.6) else UNSAFE_SIGN
    return builder.add(
        f"unsafe-clip/{wordings.name}", user, answer, builder.clip if attach else None, unsafe=True
    )
