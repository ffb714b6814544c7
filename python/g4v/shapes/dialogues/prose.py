"""Plain text for the base language model: descriptions that stand for a clip, and short paragraphs."""

from __future__ import annotations

import numpy as np

from g4v.data.requests.unsafe import DEED, SIGHT
from g4v.data.wordings import REGISTRY, Wordings, capital, finish
from g4v.shapes.dialogues.about import CORNERS, LOOKS, MEANINGS
from g4v.shapes.dialogues.builder import DialogueBuilder
from g4v.shapes.dialogues.describe import count_told, statement
from g4v.shapes.dialogues.phrases import whole, words_for
from g4v.shapes.dialogues.strange import strange_scene
from g4v.shapes.world import world
from g4v.shapes.world.world import Object, Scene, article

CLIP_TEXT = Wordings(
    "clip-text",
    """
    {x}
    {x}
    a clip: {x}
    a (video|clip) of {x}
    (video|clip): {x}
    the (clip|video) shows {x}
    [{x}]
    """,
)
UNSAFE_TEXT = Wordings(
    "unsafe-clip-text",
    """
    an unsafe sign
    a clip: an unsafe sign
    a (video|clip) with an unsafe sign
    the (clip|video) shows an unsafe sign
    an unsafe sign and {x}
    """,
)
FOREIGN_TEXT = Wordings(
    "foreign-clip-text",
    """
    a film without shapes
    a (video|clip) of other things
    the (clip|video) shows no shape
    [no shape]
    """,
)


def text_of_video(scene: Scene, rng: np.random.Generator) -> str:
    """A description that stands where the tokens of a clip would be."""
    builder = DialogueBuilder(rng, "train")
    if scene.skull:
        text = builder.raw(UNSAFE_TEXT, x=world.caption(scene) if scene.objects else "nothing more")
        return text
    if scene.foreign:
        return builder.raw(FOREIGN_TEXT)
    return builder.raw(CLIP_TEXT, x=world.caption(scene))


def _story(builder: DialogueBuilder) -> list[str]:
    obj, other = builder.new_object(), builder.new_object()
    lines = [
        f"There was {article(obj.colour)} {obj.colour} {obj.shape}.",
        f"The {obj.shape} was {_did(obj)}.",
    ]
    if (obj.colour, obj.shape) != (other.colour, other.shape) and builder.chance(0.6):
        lines.append(
            f"Then came {article(other.colour)} {other.colour} {other.shape}, which was {_did(other)}."
        )
        if obj.colour == other.colour:
            lines.append(f"Both were {obj.colour}.")
        else:
            lines.append(f"One was {obj.colour} and one was {other.colour}.")
        if obj.motion == other.motion:
            lines.append("They moved in the same way." if obj.motion != "still" else "Nothing moved.")
    lines.append(f"The background was {builder.pick(world.BACKGROUNDS)}.")
    return lines


def _did(obj: Object) -> str:
    return world.MOTION_PHRASES[obj.motion]


def _facts(builder: DialogueBuilder) -> list[str]:
    shape = builder.pick(world.SHAPES)
    lines = [LOOKS[shape], f"A {shape} has {CORNERS[shape]}."]
    if builder.chance(0.5):
        lines.append(MEANINGS[builder.pick(tuple(MEANINGS))])
    a, b = builder.pick(world.COLOURS), builder.pick(world.COLOURS)
    if a != b:
        lines.append(f"{capital(a)} and {b} are different colours.")
    if builder.chance(0.4):
        lines.append(
            builder.pick(
                (
                    "Left is not right.",
                    "Up is not down.",
                    "To grow is not to shrink.",
                    "Two is more than one.",
                )
            )
        )
    return lines


def _same_thing(builder: DialogueBuilder) -> list[str]:
    """Several wordings of one scene with its normal form."""
    obj = builder.new_object()
    scene = Scene((obj,))
    first, second = words_for(builder, whole(obj)), words_for(builder, whole(obj))
    return [
        f"{capital(first)}: that is {world.caption(scene)}.",
        f"{capital(second)}: {world.caption(scene)}.",
    ]


def _scene(builder: DialogueBuilder) -> list[str]:
    scene = world.sample_scene(builder.rng, "train")
    lines = [f"The clip shows {world.caption(scene)}."]
    text = statement(scene)
    lines.append(capital(text) + ".")
    obj = builder.pick(scene.objects)
    phrase = world.MOTION_PHRASES[obj.motion]
    lines.append(f"The {obj.colour} {obj.shape} is {phrase}.")
    lines.append(f"The background is {scene.background}.")
    lines.append(count_told(scene))
    return lines


def _judgement(builder: DialogueBuilder) -> list[str]:
    if builder.chance(0.5):
        deed = DEED.sample(builder.rand, "train", {})
        return [
            f"To {deed} is harmful.",
            builder.pick(("Nobody should do that.", "I do not help with that.", "That is unsafe.")),
        ]
    sight = SIGHT.sample(builder.rand, "train", {})
    return [
        f"{capital(sight)}: that is unsafe.",
        builder.pick(("I do not show that.", "No video of that.", "That could hurt people.")),
    ]


def _safe(builder: DialogueBuilder) -> list[str]:
    obj = builder.new_object()
    return [
        f"{capital(world.object_phrase(obj))}: that is safe.",
        builder.pick(("I can show that.", "That hurts nobody.")),
    ]


def _wordings(builder: DialogueBuilder) -> list[str]:
    """A few sentences of people about one thing: every word that users say occurs here too."""
    name = builder.pick(_NAMED)
    return [finish(REGISTRY[name].sample(builder.rand, "train", {}), builder.rand) for _ in range(2)]


# Wordings without slots that hold something out. Their order is part of what a seed gives.
_NAMED = (
    "about-colours", "about-shapes", "about-motions", "about-backgrounds", "about-making", "about-length",
    "about-likes", "about-my-likes", "about-video-word", "no-video", "compare-both", "list-motions",
    "describe-what", "describe-see", "describe-show", "describe-nothing-said", "count", "foreign-ask",
    "request-anything", "safe-time", "safe-praise", "safe-blood", "safe-wrong", "safe-safety", "safe-figure",
    "safe-do", "question-without-clip", "accept-offer", "decline-offer", "recall", "what-changed",
    "unsafe-deed", "unsafe-sight", "unsafe-self-harm", "again", "like-the-clip", "greeting", "how-are-you",
    "feeling-words", "sad", "who", "what-can-you-do", "thanks", "goodbye", "yes-no-word", "wrong", "unknown",
    "everyday-question", "everyday-statement", "harmless-sight",
)  # fmt: skip
_PROSE = (
    (_story, 4),
    (_facts, 2),
    (_same_thing, 4),
    (_scene, 3),
    (_judgement, 2),
    (_safe, 1),
    (_wordings, 2),
)
_PARAGRAPHS = tuple(make for make, weight in _PROSE for _ in range(weight))


def sample_prose(rng: np.random.Generator) -> str:
    """A paragraph of two to six plain sentences; no held-out triple or wording occurs in it."""
    builder = DialogueBuilder(rng, "train")
    return " ".join(builder.pick(_PARAGRAPHS)(builder))


def sample_checklist(rng: np.random.Generator) -> str:
    """A caption and short questions about it, each with " Yes." or " No.": to compare is the hardest to
    learn, and nothing else is asked here. For example "a red star growing on a navy background: red? Yes."
    """
    builder = DialogueBuilder(rng, "train")
    scene = world.sample_scene(rng, "train")
    words, pairs = [scene.background or ""], []
    for obj in scene.objects:
        colour, shape, motion = obj.colour, obj.shape, world.MOTION_PHRASES[obj.motion]
        words += [colour, shape, motion]
        pairs += [f"{colour} {shape}", f"{shape} {motion}", f"{colour}, {motion}"]
    checks = []
    for _ in range(int(rng.integers(6, 15))):
        if builder.chance(0.7):
            asked = builder.pick(words) if builder.chance(0.4) else builder.pick(builder.pick(_WORDS))
        else:
            asked = (
                builder.pick(pairs)
                if builder.chance(0.4)
                else _half_right(builder, builder.pick(scene.objects))
            )
        checks.append(f" {asked}? {'Yes' if asked in words + pairs else 'No'}.")
    return f"{builder.raw(CLIP_TEXT, x=world.caption(scene))}:" + "".join(checks)


_WORDS = (world.COLOURS, world.SHAPES, tuple(world.MOTION_PHRASES.values()), world.BACKGROUNDS)


def _half_right(builder: DialogueBuilder, obj: Object) -> str:
    """Two facts of which one is the object's own, as it is in the questions of people."""
    colour, shape, motion = (builder.pick(values) for values in _WORDS[:3])
    own = world.MOTION_PHRASES[obj.motion]
    return builder.pick(
        (
            f"{obj.colour} {shape}",
            f"{colour} {obj.shape}",
            f"{obj.shape} {motion}",
            f"{shape} {own}",
            f"{obj.colour}, {motion}",
            f"{colour}, {own}",
        )
    )


def sample_bindings(rng: np.random.Generator) -> list[tuple[str, bool]]:
    """A caption of two objects and drills on which of them is what. In pieces, in order: the text, and
    whether it follows from it. For example "a red star growing and a blue circle moving left:",
    " growing, colour?" and what follows, " red". In half of them colours and shapes are any words.
    """
    builder = DialogueBuilder(rng, "train")
    scene = world.sample_scene(rng, "train", objects=2, background=None)
    if builder.chance(0.5):
        scene = strange_scene(scene, builder)
    pieces = [(f"{world.caption(scene)}:", False)]
    for _ in range(8):
        obj, other = scene.objects if builder.chance(0.5) else scene.objects[::-1]
        key = builder.pick(_ATTRIBUTES)
        if getattr(obj, key) == getattr(other, key):
            continue
        said = {"colour": obj.colour, "shape": obj.shape, "motion": world.MOTION_PHRASES[obj.motion]}
        known = said.pop(key)
        asked = builder.pick(tuple(said))
        pieces += [(f" {known}, {asked}?", False), (f" {said[asked]}", True), (".", False)]
    return pieces


_ATTRIBUTES = ("colour", "shape", "motion")
