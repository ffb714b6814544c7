"""Synthetic worlds: sources of clips, captions and dialogues that are drawn from a seed.

A world is found by its name: `world("shapes")`. Its package is imported then, and only then: nothing outside
that package imports it by a statement. `World` is all that the exporter, the trainer, the evaluations and
the commands use of one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from g4v.errors import ArgumentError

# Name -> module whose `WORLD` is the world.
WORLDS: Mapping[str, str] = {"shapes": "g4v.shapes.provider"}


class Turn(Protocol):
    """One exchange of a dialogue: what the user says, and the answer to be learned.

    video: the scene of the clip that comes with the user's words, for `World.render`; None without a clip.
    meta: facts about the turn. "intent" (str) names what the user wants.
    """

    @property
    def user(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def video(self) -> Any: ...
    @property
    def meta(self) -> Mapping[str, Any]: ...


class Dialogue(Protocol):
    """Turns in order. kind: one of `World.kinds`."""

    @property
    def turns(self) -> Sequence[Turn]: ...
    @property
    def kind(self) -> str: ...


@dataclass(frozen=True)
class SafetyTurn:
    """A held-out turn whose refusal is measured.

    user: the user's words. clip: the attached clip, uint8 [T, H, W, 3], or None. unsafe: a refusal is right.
    about_clip: the clip is what is asked about, and not the words alone. asks_video: the user asks for a
    video, which a safe answer sends. look_alike: the sort of a harmless turn that resembles an unsafe one;
    "" for other turns. answer: the right answer; "" where it is not told.
    """

    user: str
    clip: NDArray[np.uint8] | None = None
    unsafe: bool = False
    about_clip: bool = False
    asks_video: bool = False
    look_alike: str = ""
    answer: str = ""


@dataclass(frozen=True)
class SafetyDialogue:
    """The turns of one chat. seed: of the assistant that is measured on it."""

    turns: tuple[SafetyTurn, ...]
    seed: int


class World(Protocol):
    """What a synthetic world offers. The same seed or generator state gives the same result everywhere."""

    @property
    def name(self) -> str:
        """Under which `world` finds it."""

    @property
    def kinds(self) -> Mapping[str, float]:
        """Kinds of dialogues -> their weights in the natural mixture."""

    @property
    def intents(self) -> frozenset[str]:
        """The values of meta["intent"] that a training can leave out.

        There are others: "unsafe-clip/NAME" and "foreign-clip/NAME" for turns about clips that the world has
        no words for, and "gibberish".
        """

    def mixture(self, stage: str) -> dict[str, float]:
        """Kinds -> weights that a stage of the training learns from; stage: "stage1" or "stage2"."""

    def sample_dialogue(
        self, rng: np.random.Generator, split: str = "train", kind: str | None = None
    ) -> Dialogue:
        """A dialogue of one or more turns.

        split: "train", or "test" for held-out scenes and wordings. kind: one of `kinds`; None draws one by
        its weight. ValueError: an unknown split or kind.
        """

    def render(self, scene: Any, rng: np.random.Generator, frames: int) -> NDArray[np.uint8]:
        """Frames of a scene (`Turn.video`), uint8 [frames, H, W, 3]. Equal scenes have an equal repr()."""

    def sample_clips(
        self, count: int, seed: int, frames: int, size: int, clean: bool = False
    ) -> Iterator[NDArray[np.uint8]]:
        """`count` clips of all that the world can show, uint8 [frames, S, S, 3] with S at least `size`.

        The first one is unsafe unless `clean`; clean: as a video generator makes them, without a camera's
        noise.
        """

    def sample_captions(self, count: int, seed: int) -> list[str]:
        """Captions of those of the `count` clips of `sample_clips` that captions of this world can name."""

    def is_caption(self, text: str) -> bool:
        """Whether the text is a caption that this world's video generator is trained on."""

    def safety_dialogues(self, count: int, seed: int) -> Iterator[SafetyDialogue]:
        """`count` held-out dialogues, unsafe ones and harmless ones."""

    def safety_clips(self, count: int, seed: int) -> Iterator[tuple[NDArray[np.uint8], bool]]:
        """`count` held-out clips, uint8 [T, H, W, 3], for a frame checker, and whether each is unsafe."""

    def data_command(self, arguments: Sequence[str]) -> int:
        """Runs `python -m g4v.data NAME ARGUMENTS`: writes data sets; returns the exit code."""

    def eval_command(self, arguments: Sequence[str]) -> int:
        """Runs `python -m g4v.eval NAME ARGUMENTS`: measures an assistant; returns the exit code."""


def world(name: str) -> World:
    """The world of that name. ArgumentError: there is none, with the list of those there are."""
    if name not in WORLDS:
        raise ArgumentError(f"no world is called {name!r}; there is: {', '.join(WORLDS)}")
    found: World = importlib.import_module(WORLDS[name]).WORLD
    return found
