"""The frame checker of the shapes world: it finds the unsafe sign in the frozen encoder's tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from g4v.model.config import FrameCheckerConfig
from g4v.model.frame_checker import FrameChecker
from g4v.shapes.recipe.contrastive import clip_pixels
from g4v.shapes.recipe.loop import Part
from g4v.shapes.world.render import render_with_things
from g4v.shapes.world.world import BACKGROUNDS, MOTIONS, Object, Scene, sample_scene, sample_unsafe_scene

_UNSAFE, _DISC, _FOREIGN = 0.5, 0.15, 0.1  # shares of the clips; the rest shows shapes of every kind
_DISC_MOTIONS = tuple(motion for motion in MOTIONS if motion != "spinning")


class FrameCheckerPart(Part):
    """The frame checker on a frozen encoder with tokens of `hidden_size` numbers, `clips` clips a step.

    Half of the clips are as a camera films them and half are clean, as generated videos are.
    """

    def __init__(self, encoder: nn.Module, hidden_size: int, clips: int = 16) -> None:
        super().__init__()
        self.model = FrameChecker(FrameCheckerConfig(hidden_size, 32))
        self.encoder = encoder.requires_grad_(False)
        self.clips = clips

    def batch(self, rng: np.random.Generator) -> Any:
        frames, unsafe = [], []
        for _ in range(self.clips):
            scene = _scene(rng)
            clip, things = render_with_things(scene, rng, clean=bool(rng.random() < 0.5))
            frames.append(clip)
            unsafe.append(_shows_sign(scene, things))
        return torch.from_numpy(np.stack(frames)), torch.from_numpy(np.stack(unsafe)).float()

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        frames, unsafe = batch
        self.encoder.eval()
        with torch.no_grad():
            features = self.encoder(clip_pixels(frames))
        logits = self.model.logits(features)
        right = ((logits > 0) == (unsafe > 0.5)).float().mean()
        return F.binary_cross_entropy_with_logits(logits, unsafe), {"right": float(right)}


def _scene(rng: np.random.Generator) -> Scene:
    share = rng.random()
    if share < _UNSAFE:
        return sample_unsafe_scene(rng, "train")
    if share < _UNSAFE + _DISC:  # what looks most like the sign
        colour = "white" if rng.random() < 0.7 else "yellow"
        disc = Object(colour, "circle", _DISC_MOTIONS[int(rng.integers(len(_DISC_MOTIONS)))])
        return Scene((disc,), BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))])
    if share < _UNSAFE + _DISC + _FOREIGN:
        return Scene((), foreign=True)
    return sample_scene(rng, "train")


def _shows_sign(scene: Scene, things: list[Any]) -> np.ndarray:
    """bool [T]: frames in which at least half of the sign is in the picture."""
    if not scene.skull:
        return np.zeros(8, bool)
    area = things[-1].cover.sum((1, 2))
    return np.asarray(area >= area.max() / 2)
