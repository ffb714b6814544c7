"""The image autoencoder of the text-to-video model, trained on single frames of clean clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from g4v.data.shapes.render import render
from g4v.data.shapes.world import sample_scene
from g4v.model.config import Preset
from g4v.train.loop import Part


class VaePart(Part):
    """Absolute and squared error of the picture, weighted towards the objects, and a pull to N(0, 1)."""

    def __init__(self, preset: Preset, images: int = 20, kl_weight: float = 1e-3) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.model = AutoencoderKL(**preset.vae)
        self.images, self.kl_weight = images, kl_weight

    def batch(self, rng: np.random.Generator) -> Tensor:
        pictures: list[np.ndarray] = []
        while len(pictures) < self.images:
            # Single pictures show no motion, so no held-out triple is given away.
            frames = render(sample_scene(rng, "all", background=None), rng, frames=2, clean=True)
            pictures += list(frames)
        return torch.from_numpy(np.stack(pictures[: self.images]))

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        images = batch.permute(0, 3, 1, 2).float() / 127.5 - 1
        # Most pixels are plain background: objects and their edges count more.
        background = images.flatten(2).median(-1).values[..., None, None]
        weight = 1 + 4 * ((images - background).abs().amax(1, keepdim=True) > 0.1).float()
        posterior = self.model.encode(images).latent_dist
        error = self.model.decode(posterior.sample()).sample - images
        picture = (weight * (error.abs() + error.square())).mean()
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        peak = 10 * torch.log10(4 / error.detach().square().mean())
        figures = {"psnr": float(peak), "kl": float(divergence.detach())}
        return picture + self.kl_weight * divergence, figures
