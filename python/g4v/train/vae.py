"""The image autoencoder of the text-to-video model, trained on single frames of clean clips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g4v.data.shapes.render import render
from g4v.data.shapes.world import sample_scene
from g4v.model.config import Preset
from g4v.train.loop import Part

_CROP = 32  # pixels


class VaePart(Part):
    """Absolute and squared error of the picture, weighted towards the objects, and a pull to N(0, 1).

    Most of a frame is plain background, so the first run looks at crops around objects (a quarter of the
    work, the same to learn) and the second at whole frames, where it learns what borders look like.
    """

    def __init__(self, preset: Preset, crops: bool, images: int, kl_weight: float = 1e-3) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.model = AutoencoderKL(**preset.vae)
        self.crops, self.images, self.kl_weight = crops, images, kl_weight

    def batch(self, rng: np.random.Generator) -> Tensor:
        pictures: list[np.ndarray] = []
        while len(pictures) < self.images:
            # Single pictures show no motion, so no held-out triple is given away.
            frames = render(sample_scene(rng, "all", background=None), rng, frames=2, clean=True)
            pictures += list(frames if not self.crops else _crops(frames, rng))
        return torch.from_numpy(np.stack(pictures[: self.images]))

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        images = batch.permute(0, 3, 1, 2).float() / 127.5 - 1
        background = images.flatten(2).median(-1).values[..., None, None]
        weight = 1 + 4 * ((images - background).abs().amax(1, keepdim=True) > 0.1).float()
        posterior = self.model.encode(images).latent_dist
        error = self.model.decode(posterior.sample()).sample - images
        picture = (weight * (error.abs() + error.square())).mean()
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        peak = 10 * torch.log10(4 / error.detach().square().mean())
        figures = {"psnr": float(peak), "kl": float(divergence.detach())}
        return picture + self.kl_weight * divergence, figures


def _crops(frames: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """One crop of each frame around a pixel that differs from the frame's first one, where there is any."""
    for frame in frames:
        rows, columns = np.nonzero(np.abs(frame.astype(np.int16) - frame[0, 0]).max(-1) > 12)
        size = frame.shape[0]
        row, column = rng.integers(size, size=2)
        if len(rows):
            pick = int(rng.integers(len(rows)))
            row, column = rows[pick] + rng.integers(-8, 9), columns[pick] + rng.integers(-8, 9)
        top, left = (int(np.clip(place - _CROP // 2, 0, size - _CROP)) for place in (row, column))
        yield frame[top : top + _CROP, left : left + _CROP]
