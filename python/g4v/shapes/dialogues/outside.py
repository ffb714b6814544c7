"""Requests for videos that the shapes world does not contain: no video, but an offer."""

from __future__ import annotations

from g4v.data.wordings import Wordings
from g4v.shapes.dialogues import requests
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.world import world
from g4v.shapes.world.world import Object, Scene

OUTSIDE = Wordings(
    "request-outside",
    """
    (show|give) me {t}
    (show|send|give) me a (video|clip|film) (of|with) {t}
    (make|create|draw|generate|produce) {t}
    (make|create|draw|generate|produce) a (video|clip|film) (of|with) {t}
    (can|could|would) you (show|make|draw) (me |){t}?
    (can|could|would) you make a (video|clip|film) of {t}?
    i (want|would like) to (see|watch) {t}
    i'd like to see {t}
    let me see {t}
    how about {t}?
    a (video|clip) of {t}
    i (wonder|want to know) what {t} looks like
    i have never seen {t}
    do you have a (video|clip) of {t}?
    * would you mind showing me {t}?
    * i would love a (video|clip) of {t}
    * please make me a little film of {t}
    """,
    "(||||hey, |please |ok, |so, |now |)",
    "(||||, please| for me|)",
)
_THINGS = """
    a dog, a cat, a horse, a bird, a fish, a lion, a car, a red car, a bus, a train, a house, a
    tree, a flower, a red flower, the sea, the moon, the sun, a mountain, a river, a city, a man, a
    woman, a child, my friend, people, a dancing man, a woman who sings, a running dog, a cat that
    sleeps, a football game, a robot, a computer, a phone, a cake, an apple, a green apple, a ship,
    a plane, rain, snow, fire, a pink circle, a brown square, a pink star, a red heart, a blue
    heart, a hexagon, a green hexagon, a cube, a cross, a white cross, an arrow, a line, a letter,
    the number five, a word, a blue horse, a white cat, a yellow bus, a black cat, a purple flower,
    an orange fish, a king, a queen, a book, music, a song, a kitchen, a garden, a street, a park,
    the earth, a green tree moving left, a red car moving right, a blue bird moving up, a dog
    standing still, a spinning car, a growing tree, a pink circle moving left, a brown triangle
    growing
"""
NO_CLIP = "I only know simple shapes, so I have no clip of that."
THINGS = tuple(" ".join(thing.split()) for thing in _THINGS.split(","))
MANY = Wordings(
    "request-too-many",
    """
    (show|give) me {k} {c} {n}s
    (make|draw|create) {k} {c} {n}s
    (can|could) you (show me|make|draw) {k} {n}s?
    a (clip|video) of {k} {c} {n}s
    i want to see {k} {n}s
    (show me|make) a (clip|video) with {k} {n}s
    * let me see {k} {c} {n}s
    * could you make a (clip|video) with {k} {n}s?
    """,
    "(||||hey, |please |ok, |)",
    "(||||, please|)",
)
SPIN_CIRCLE = Wordings(
    "request-spinning-circle",
    """
    (show|give) me a {c} circle (spinning|that spins|that rotates|turning around)
    (show|give) me a (spinning|rotating) {c} circle
    (make|draw|create) a (spinning|rotating|turning) {c} circle
    (make|draw) a (clip|video) of a {c} circle (spinning|rotating|that turns)
    (can|could) you (show me|make) a {c} circle that (spins|rotates|turns)?
    i want to see a {c} circle (spinning|rotating)
    a {c} circle (spinning|rotating)
    i wonder (what a spinning {c} circle looks like|how a {c} circle spins)
    can a circle (spin|rotate|turn)?
    * let me see a {c} circle that (spins|rotates)
    * could you make a (spinning|rotating) {c} circle?
    """,
    "(||||hey, |please |ok, |now |)",
    "(||||, please|)",
)
ACCEPT = Wordings(
    "accept-offer",
    """
    (yes|ok|sure), (i want|i would like) (that|to see that)
    (yes|ok), (make|show) me that (clip|video|one)
    (sounds|looks) (good|great|nice)
    (that is|what) a (good|nice|great) idea
    (i|yes, i) (agree|do|would)
    if you like
    with pleasure
    let us do that
    let me see (it|that)
    (yes|yeah|yep), (please|let us see it|give it to me)
    (yeah|yep|yup)
    * (yeah|yes), that is a good idea
    * (sounds good|with pleasure), show it
    (yes|yes|sure|ok|okay|of course)(|, please|, thanks|, do that|, do it|, show me|, show it|, go on)
    (good|great|fine|yes)(|, please|, thanks|, do that|, do it|, show me|, show it|, go on)
    yes, (show|make) (me |)(it|that|that one)
    (yes|ok|sure), (that sounds (good|nice|great)|that would be (nice|great|good)|i would like that|why not)
    (yes|ok|sure), let me see (it|that)
    that (sounds|would be) (good|nice|great)
    (good|great|nice|fine) idea
    why not?
    i would like (that|to see it)
    show (it|me|me that|that)
    (do|make) (it|that)
    please (do|do it|show it)
    go (on|for it)
    (ok|alright) then
    * (yes|sure), (i would love to|please show it)
    * (ok|fine), (make it|go for it)
    * good idea, (show me|let me see it)
    """,
)
DECLINE = Wordings(
    "decline-offer",
    """
    (no|no thanks), (something else|never mind)
    never mind
    (that|it) is not what i want
    i am not in the mood(| for that)
    (no|nope), leave it
    forget it
    (no|no, thanks), i (have|had) enough
    i would rather not
    * never mind, (maybe later|another time)
    * (no|nope), forget it
    (no|no|nope)(|, thanks|, thank you|, not now|, i do not want that|, i do not like it)
    not (now|today|really)
    (maybe|perhaps) later
    i do not want (that|it|to see it)
    (no|thanks), (that is not what i want|i do not need it|another time)
    rather not
    do not (show|make) (it|that)
    no (video|clip)(|, please|, thanks)
    * (no|nope), (maybe later|i do not need that)
    * i do not want (a|any) (video|clip) now
    """,
)
OFFERS = tuple(
    Scene((obj,))
    for obj in (
        Object("blue", "star", "spinning"),
        Object("red", "circle", "left"),
        Object("green", "square", "growing"),
        Object("yellow", "triangle", "up"),
        Object("white", "star", "down"),
        Object("purple", "circle", "shrinking"),
        Object("orange", "square", "right"),
        Object("yellow", "star", "growing"),
    )
    if not world.is_held_out(obj)
)


def offer(builder: DialogueBuilder) -> Scene:
    """A scene that the assistant offers to show instead."""
    return builder.pick(OFFERS)


def outside(builder: DialogueBuilder) -> Turn:
    """A request for something that is no shape of this world, too many shapes, or a spinning circle."""
    r = builder.rand()
    if r < 0.7:
        wordings, user = OUTSIDE, builder.say(OUTSIDE, t=builder.pick(THINGS))
        reason = NO_CLIP
    elif r < 0.82:
        number = builder.pick(("three", "four", "five", "ten", "many", "six", "a hundred"))
        wordings = MANY
        user = builder.say(MANY, k=number, c=builder.pick(world.COLOURS), n=builder.pick(world.SHAPES))
        reason = "I can show one or two shapes, not more."
    else:
        wordings, user = SPIN_CIRCLE, builder.say(SPIN_CIRCLE, c=builder.pick(world.COLOURS))
        reason = "A circle looks the same when it spins, so I have no clip of that."
    return decline(builder, wordings.name, user, reason)


def decline(builder: DialogueBuilder, intent: str, user: str, reason: str) -> Turn:
    """A wish that cannot be met: why, and an offer."""
    scene = offer(builder)
    turn = builder.add(intent, user, f"{reason} How about {world.caption(scene)}?")
    builder.offer = scene
    return turn


def answer_offer(builder: DialogueBuilder) -> Turn:
    """The user takes or leaves what the last answer offered."""
    scene = builder.offer
    if scene is None:
        raise ValueError("the last answer offered nothing")
    if builder.chance(0.65):
        return builder.send(
            ACCEPT.name, builder.say(ACCEPT), scene, builder.pick(requests.SENDING), requests.after(builder)
        )
    return builder.add(DECLINE.name, builder.say(DECLINE), "All right. What would you like to see?")
