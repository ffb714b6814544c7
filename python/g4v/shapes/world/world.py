"""What exists in the shapes world, the caption grammar, and the fixed split into seen and held-out triples.

A scene is one or two objects on a background. An object is a (colour, shape, motion) triple. A caption names
them in normal form, for example "a red circle moving left on a black background" or
"a green star growing and a blue square moving up".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

T = TypeVar("T")

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white")
SHAPES = ("circle", "square", "triangle", "star")
BACKGROUNDS = ("black", "gray", "navy")
MOTIONS = ("left", "right", "up", "down", "growing", "shrinking", "spinning", "still")

MOTION_PHRASES = {
    "left": "moving left",
    "right": "moving right",
    "up": "moving up",
    "down": "moving down",
    "growing": "growing",
    "shrinking": "shrinking",
    "spinning": "spinning",
    "still": "standing still",
}


@dataclass(frozen=True)
class Object:
    """One coloured shape and what it does during the clip."""

    colour: str
    shape: str
    motion: str


@dataclass(frozen=True)
class Scene:
    """One or two objects; `background` None leaves it open.

    `skull` marks an unsafe clip, which may have no objects. `foreign` marks a clip of something else, without
    objects and background.
    """

    objects: tuple[Object, ...]
    background: str | None = None
    skull: bool = False
    foreign: bool = False


# A circle looks the same at every angle, so a spinning circle does not exist.
TRIPLES = tuple(
    Object(colour, shape, motion)
    for colour in COLOURS
    for shape in SHAPES
    for motion in MOTIONS
    if not (shape == "circle" and motion == "spinning")
)


def _choose_held_out() -> frozenset[Object]:
    """A tenth of the triples, chosen by a hash, so that no library's random numbers can change it."""

    def key(triple: Object) -> bytes:
        return hashlib.sha256(f"{triple.colour}/{triple.shape}/{triple.motion}".encode()).digest()

    return frozenset(sorted(TRIPLES, key=key)[: round(len(TRIPLES) / 10)])


HELD_OUT = _choose_held_out()
_SEEN = tuple(triple for triple in TRIPLES if triple not in HELD_OUT)
_UNSEEN = tuple(triple for triple in TRIPLES if triple in HELD_OUT)


def is_held_out(obj: Object) -> bool:
    """Whether this (colour, shape, motion) triple is never trained on."""
    return obj in HELD_OUT


def article(word: str) -> str:
    """ "a" or "an" for the word that follows."""
    return "an" if word[0] in "aeiou" else "a"


def object_phrase(obj: Object) -> str:
    """Returns the object in words, such as "an orange star spinning"."""
    return f"{article(obj.colour)} {obj.colour} {obj.shape} {MOTION_PHRASES[obj.motion]}"


def caption(scene: Scene) -> str:
    """The scene in normal form; the background only where it is stated."""
    text = " and ".join(object_phrase(obj) for obj in scene.objects)
    return f"{text} on a {scene.background} background" if scene.background else text


_OBJECT_PATTERN = rf"an? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)}) ({'|'.join(MOTION_PHRASES.values())})"
_CAPTION_PATTERN = re.compile(
    rf"{_OBJECT_PATTERN}(?: and {_OBJECT_PATTERN})?(?: on a ({'|'.join(BACKGROUNDS)}) background)?"
)
_MOTION_OF_PHRASE = {phrase: motion for motion, phrase in MOTION_PHRASES.items()}


def parse_caption(text: str) -> Scene | None:
    """The scene that a caption in normal form names; None for any other text."""
    match = _CAPTION_PATTERN.fullmatch(text.strip())
    if match is None:
        return None
    first, second, background = match.group(1, 2, 3), match.group(4, 5, 6), match.group(7)
    objects = [Object(c, s, _MOTION_OF_PHRASE[m]) for c, s, m in (first, second) if c is not None]
    if any(obj.shape == "circle" and obj.motion == "spinning" for obj in objects):
        return None
    scene = Scene(tuple(objects), background)
    return scene if caption(scene) == text.strip() else None  # refuses "a orange star"


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.integers(len(items)))]


def sample_object(rng: np.random.Generator, split: str = "train") -> Object:
    """A random triple: a seen one for "train", a held-out one for "test", any for "all"."""
    pools = {"train": _SEEN, "test": _UNSEEN, "all": TRIPLES}
    # Draw colour, shape and motion evenly rather than triples, so that spinning is as frequent as the rest.
    while True:
        if split == "test":
            return _pick(rng, _UNSEEN)
        obj = Object(_pick(rng, COLOURS), _pick(rng, SHAPES), _pick(rng, MOTIONS))
        if obj.shape == "circle" and obj.motion == "spinning":
            obj = replace(obj, shape=_pick(rng, SHAPES[1:]))
        if split == "all" or obj in pools[split]:
            return obj


def sample_scene(
    rng: np.random.Generator,
    split: str = "train",
    objects: int | None = None,
    background: bool | None = True,
) -> Scene:
    """A random scene of one or two objects that differ in colour or shape.

    split: "train" uses seen triples alone, "test" at least one held-out triple, "all" any.
    objects: 1 or 2; None draws two with probability 0.35.
    background: True states one, False leaves it open, None does either.
    """
    count = objects if objects is not None else 1 + int(rng.random() < 0.35)
    first = sample_object(rng, split)
    chosen = [first]
    while len(chosen) < count:
        other = sample_object(rng, "train" if split == "train" else "all")
        if (other.colour, other.shape) != (first.colour, first.shape):
            chosen.append(other)
    if len(chosen) == 2 and rng.random() < 0.5:
        chosen.reverse()
    stated = rng.random() < 0.5 if background is None else background
    return Scene(tuple(chosen), _pick(rng, BACKGROUNDS) if stated else None)


def sample_unsafe_scene(rng: np.random.Generator, split: str = "train") -> Scene:
    """The unsafe sign among none to two objects; split as in `sample_scene`."""
    scene = sample_scene(rng, split)
    return replace(scene, objects=scene.objects[: int(rng.integers(3))], skull=True)
