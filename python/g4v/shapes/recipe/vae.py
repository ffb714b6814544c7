"""The image autoencoder of the text-to-video model, trained on single frames of clean clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from g4v.model.presets import Preset
from g4v.shapes.recipe.loop import Part
from g4v.shapes.world.render import render
from g4v.shapes.world.world import sample_scene


class VaePart(Part):
    """The autoencoder, on `images` single frames a step.

    The loss is the error of the picture, weighted towards objects and outlines, and `kl_weight` times the
    divergence of the latents from N(0, 1).
    """

    def __init__(self, preset: Preset, images: int = 10, kl_weight: float = 1e-3) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.model = AutoencoderKL(**preset.vae)
        self.images, self.kl_weight = images, kl_weight

    def batch(self, rng: np.random.Generator) -> Tensor:
        pictures: list[np.ndarray] = []
        while len(pictures) < self.images:
            # Single pictures show no motion, so no held-out triple is given away.
            frames = render(sample_scene(rng, "all", background=True), rng, frames=2, clean=True)
            pictures += list(frames)
        return torch.from_numpy(np.stack(pictures[: self.images]))

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        images = batch.permute(0, 3, 1, 2).float() / 127.5 - 1
        # Most pixels are plain background: objects count more, and most of all the outlines that tell shapes.
        background = images.flatten(2).median(-1).values[..., None, None]
        weight = 1 + 3 * ((images - background).abs().amax(1, keepdim=True) > 0.1).float()
        contrast = F.max_pool2d(images, 3, 1, 1) + F.max_pool2d(-images, 3, 1, 1)
        weight = weight + 8 * (contrast.amax(1, keepdim=True) > 0.15).float()
        posterior = self.model.encode(images).latent_dist
        error = self.model.decode(posterior.sample()).sample - images
        picture = (weight * (error.abs() + error.square())).mean()
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        peak = 10 * torch.log10(4 / error.detach().square().mean())
        figures = {"psnr": float(peak), "kl": float(divergence.detach())}
        return picture + self.kl_weight * divergence, figures
