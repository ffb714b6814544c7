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
    """Absolute and squared error of the picture, weighted towards the objects, and a pull to N(0, 1).

    The pull is light until pictures are recognisable, then stronger: the decoder has to bear noisy latents, as a
    generator's always are.
    """

    def __init__(self, preset: Preset, clips: int = 12, frames: int = 2) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.model = AutoencoderKL(**preset.vae)
        self.clips, self.frames = clips, frames

    def batch(self, rng: np.random.Generator) -> Tensor:
        # Single pictures show no motion, so no held-out triple is given away.
        scenes = [sample_scene(rng, "all", background=None) for _ in range(self.clips)]
        frames = np.concatenate([render(scene, rng, frames=self.frames, clean=True) for scene in scenes])
        return torch.from_numpy(frames)

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        images = batch.permute(0, 3, 1, 2).float() / 127.5 - 1
        background = images[:, :, :1, :1]
        # Most pixels are plain background: the object and its edges count more.
        weight = 1 + 4 * ((images - background).abs().amax(1, keepdim=True) > 0.1).float()
        posterior = self.model.encode(images).latent_dist
        latents = posterior.sample()
        error = self.model.decode(latents).sample - images
        picture = (weight * (error.abs() + error.square())).mean()
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        peak = 10 * torch.log10(4 / error.detach().square().mean())
        figures = {"psnr": float(peak), "kl": float(divergence.detach())}
        ramp = min(1.0, max(0.0, (self.global_step - 500) / 300))
        return picture + (2e-4 + 3.8e-3 * ramp) * divergence, figures
