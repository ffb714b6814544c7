"""Questions that compare or list the two objects of a clip. They answer None on a clip with one object."""

from __future__ import annotations

from g4v.data.wordings import Wordings, capital
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.phrases import motion_words
from g4v.shapes.world.world import MOTION_PHRASES, MOTIONS, Scene, article

_OPEN = "(||||||and |so |hey, |now |ok, |please, )"
_CLOSE = "(||||||, please| in the clip| in the video| here)"

SAME = Wordings(
    "compare-same",
    """
    are both of the same {v}?
    is it the same {v}?
    is it true that both have the same {v}?
    is the {v} of the two objects the same?
    would you say that they have the same {v}?
    same {v}?
    have both the same {v}?
    * would you say that both have the same {v}?
    * is the {v} of the two (shapes|things) the same?
    do they have the same {v}?
    do (both|the two) have the same {v}?
    do both (objects|shapes) have the same {v}?
    is the {v} of both the same?
    are they the same {v}?
    is their {v} the same?
    have they got the same {v}?
    do they share the {v}?
    are the two of the same {v}?
    do the two of them have the same {v}?
    is it true that they have the same {v}?
    * is it the same {v} for both?
    * do the two (objects|shapes) share the {v}?
    """,
    _OPEN,
    _CLOSE,
)
COMPARE = Wordings(
    "compare-values",
    """
    compare the {v} of (the two|both|both objects)
    compare their {v}s
    compare the {v}s
    what about their {v}s?
    how do their {v}s compare?
    is it the same {v} or a different one?
    tell me about the {v} of both
    * compare the {v} of the (two objects|two shapes)
    """,
    _OPEN,
    _CLOSE,
)
BOTH = Wordings(
    "compare-both",
    """
    would you say that both move?
    can you see if both move?
    tell me if both move
    are the two objects in motion?
    do you see both of them moving?
    both moving?
    * can you see if the two are moving?
    do both move?
    do (both|the two) (objects|shapes|things) move?
    do they both move?
    are (both|they both|the two) moving?
    is each of them moving?
    do all (objects|shapes|things) move?
    do the two move?
    is it true that both move?
    * do both of them move?
    * are all (objects|shapes) moving?
    """,
    _OPEN,
    _CLOSE,
)
WHICH = Wordings(
    "compare-which",
    """
    who of the two is {v}?
    what of the two is {v}?
    name the one that is {v}
    name the (object|shape) that is {v}
    say which one is {v}
    do you know which one is {v}?
    * name the thing that is {v}
    * i want to know which one is {v}
    which (one|object|shape|thing) is {v}?
    which of (them|the two) is {v}?
    what is {v}?
    which is {v}?
    tell me which (one|object|shape) is {v}
    which one of the two is {v}?
    who is {v}?
    do you see which (one|object) is {v}?
    * can you say which (one|of them) is {v}?
    * which of the (objects|shapes) is {v}?
    """,
    _OPEN,
    _CLOSE,
)
LIST = Wordings(
    "list",
    """
    say which {v} you see
    which two {v} are (shown|there)?
    what are the {v}?
    what are their {v}?
    i want to know the {v}
    give me the {v}
    * say which {v} there are
    * what are the {v} of the two?
    (what|which) {v} do they have?
    (what|which) {v} do you see?
    (what|which) {v} are there?
    (what|which) {v} are in the (clip|video)?
    name the {v}
    name all {v}
    tell me the {v}
    tell me the two {v}
    list the {v}
    * (can|could) you name the {v}?
    """,
    _OPEN,
    "(|||, please)",
)
BOTH_DO = Wordings(
    "list-motions",
    """
    what happens to them?
    what is each of them doing?
    what does each of them do?
    describe (their motion|how they move)
    say what both do
    in which direction do they (go|move)?
    * what happens to the two?
    * describe what each of them does
    what do they do?
    what are they doing?
    how do they move?
    what do the two (objects|shapes|) do?
    which way do they (go|move)?
    what are the two (objects|shapes) doing?
    tell me what they do
    tell me how they move
    how are they moving?
    * what are both of them doing?
    * (can|could) you say how they move?
    """,
    _OPEN,
    _CLOSE,
)


def ask_same(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Do both have the same colour? Compare their colours."""
    if len(scene.objects) != 2:
        return None
    first, second = scene.objects
    r = builder.rand()
    if r < 0.45:
        a, b, what, same = first.colour, second.colour, "colour", f"both are {first.colour}"
        different = f"one is {a} and one is {b}"
    elif r < 0.75:
        a, b, what, same = first.shape, second.shape, "shape", f"both are {first.shape}s"
        different = f"one is {article(a)} {a} and one is {article(b)} {b}"
    else:
        a, b = MOTION_PHRASES[first.motion], MOTION_PHRASES[second.motion]
        what, same, different = "motion", f"both are {a}", f"one is {a} and one is {b}"
    answer, values = (same, [a]) if a == b else (different, [a, b])
    if builder.chance(0.25):
        user = builder.say(COMPARE, v=what)
        return builder.add(COMPARE.name, user, capital(answer) + ".", attribute="compare", expected=values)
    word = "yes" if a == b else "no"
    answer = f"{capital(word)}, {answer}."
    return builder.add(
        SAME.name, builder.say(SAME, v=what), answer, attribute="compare", expected=[word, *values]
    )


def ask_both(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Whether both objects move; None, and nothing drawn, for a clip of one."""
    if len(scene.objects) != 2:
        return None
    still = [obj for obj in scene.objects if obj.motion == "still"]
    if not still:
        answer, expected = "Yes, both are moving.", ["yes", "both"]
    elif len(still) == 2:
        answer, expected = "No, both are standing still.", ["no", "both", "standing still"]
    else:
        answer = f"No, the {still[0].colour} {still[0].shape} is standing still."
        expected = ["no", still[0].colour, still[0].shape, "standing still"]
    return builder.add(BOTH.name, builder.say(BOTH), answer, attribute="compare", expected=expected)


def ask_which(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """Which object moves so; None, and nothing drawn, for a clip of one."""
    if len(scene.objects) != 2:
        return None
    motion = builder.pick(scene.objects).motion if builder.chance(0.75) else builder.pick(MOTIONS)
    found = [obj for obj in scene.objects if obj.motion == motion]
    phrase = MOTION_PHRASES[motion]
    user = builder.say(WHICH, v=motion_words(builder, motion, "ing"))
    if len(found) == 1:
        obj = found[0]
        answer, expected = f"The {obj.colour} {obj.shape} is {phrase}.", [obj.colour, obj.shape]
    else:
        word = "both" if found else "nothing"
        answer, expected = f"{capital(word)} {'are' if found else 'is'} {phrase}.", [word]
    return builder.add(WHICH.name, user, answer, attribute="compare", expected=expected)


def ask_list(builder: DialogueBuilder, scene: Scene) -> Turn | None:
    """A list of what both have; None, and nothing drawn, for a clip of one."""
    if len(scene.objects) != 2:
        return None
    first, second = scene.objects
    r = builder.rand()
    if r < 0.35:
        same = first.colour == second.colour
        answer = f"They are both {first.colour}." if same else f"They are {first.colour} and {second.colour}."
        values = [first.colour] if same else [first.colour, second.colour]
        return builder.add(
            LIST.name, builder.say(LIST, v="colours"), answer, attribute="colour", expected=values
        )
    if r < 0.6:
        same = first.shape == second.shape
        answer = (
            f"They are both {first.shape}s." if same else f"They are a {first.shape} and a {second.shape}."
        )
        values = [first.shape] if same else [first.shape, second.shape]
        return builder.add(
            LIST.name, builder.say(LIST, v="shapes"), answer, attribute="shape", expected=values
        )
    parts = [f"the {o.colour} {o.shape} is {MOTION_PHRASES[o.motion]}" for o in scene.objects]
    values = list(dict.fromkeys(MOTION_PHRASES[o.motion] for o in scene.objects))
    answer = capital(" and ".join(parts)) + "."
    return builder.add(BOTH_DO.name, builder.say(BOTH_DO), answer, attribute="motion", expected=values)


QUESTIONS = ((ask_same, 4), (ask_both, 2), (ask_which, 3), (ask_list, 4))
