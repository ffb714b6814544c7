"""What every family of dialogues builds on: turns, and the dialogue that is being written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from g4v.data.wordings import Wordings, finish
from g4v.shapes.world import world
from g4v.shapes.world.world import Object, Scene

T = TypeVar("T")


@dataclass
class Turn:
    """One exchange. `video` is the clip that the user attaches to this turn.

    meta: always "intent" (str), "sends_video" (bool), "caption" (str or None), "unsafe" (bool: a refusal is
    the right answer); on questions also "attribute" and "expected" (see the package's docstring).
    """

    user: str
    answer: str
    video: Scene | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass
class Dialogue:
    """One to four turns. meta: "split" (str)."""

    turns: list[Turn]
    kind: str
    meta: dict[str, Any] = field(default_factory=dict)


class DialogueBuilder:
    """A dialogue being written: the random source, the split, and what both sides have seen so far."""

    def __init__(self, rng: np.random.Generator, split: str) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"split must be 'train' or 'test', not {split!r}")
        self.rng = rng
        self.rand = rng.random
        self.split = split
        self.turns: list[Turn] = []
        self.clip: Scene | None = None  # the user's last clip
        self.sent: list[Scene] = []  # what the assistant has shown
        self.offer: Scene | None = None  # what the last answer offered to show
        self.surprises = 0

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, each as likely."""
        return items[int(self.rand() * len(items))]

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self.rand() < p

    def raw(self, wordings: Wordings, **slots: str) -> str:
        """A text in lower case, without a full stop, from the wordings of the split."""
        return wordings.sample(self.rand, self.split, slots)

    def phrase(self, wordings: Wordings, **slots: str) -> str:
        """A part of a sentence. The test split draws a held-out form in one of four cases: its sentences
        are new anyway, and people name things in common ways.
        """
        split = "test" if self.split == "test" and self.rand() < 0.25 else "train"
        return wordings.sample(self.rand, split, slots)

    def say(self, wordings: Wordings, **slots: str) -> str:
        """A user text from the wordings of the split, typed as people type."""
        return finish(wordings.sample(self.rand, self.split, slots), self.rand)

    def new_clip(self, objects: int | None = None) -> Scene:
        """A clip for the user to attach; its objects stand in a fixed order, so that one answer is right."""
        scene = world.sample_scene(self.rng, self.split, objects)
        self.clip = Scene(tuple(sorted(scene.objects, key=_rank)), scene.background)
        return self.clip

    def new_object(self) -> Object:
        """An object to be asked for: never a held-out triple in training, either kind in the test split."""
        return world.sample_object(self.rng, "train" if self.split == "train" else self.pick(("test", "all")))

    def allows(self, scene: Scene) -> bool:
        """Whether the scene exists and may occur in this split."""
        for obj in scene.objects:
            if obj.shape == "circle" and obj.motion == "spinning":
                return False
            if self.split == "train" and world.is_held_out(obj):
                return False
        shown = [(obj.colour, obj.shape) for obj in scene.objects]
        return len(set(shown)) == len(shown)

    def add(self, intent: str, user: str, answer: str, video: Scene | None = None, **meta: Any) -> Turn:
        """Adds a turn. video: the clip that the user attaches; meta: facts beside those every turn has."""
        values = {"intent": intent, "sends_video": False, "caption": None, "unsafe": False, **meta}
        turn = Turn(user, answer, video, values)
        self.turns.append(turn)
        self.offer = None
        return turn

    def send(
        self, intent: str, user: str, scene: Scene, before: str, after: str = "", video: Scene | None = None
    ) -> Turn:
        """A turn whose answer carries a video."""
        text = world.caption(scene)
        turn = self.add(
            intent, user, f"{before} <video>{text}</video>{after}", video, sends_video=True, caption=text
        )
        self.sent.append(scene)
        return turn


def _rank(obj: Object) -> tuple[int, int, int]:
    return world.COLOURS.index(obj.colour), world.SHAPES.index(obj.shape), world.MOTIONS.index(obj.motion)
