"""Compares the graphs of LTX-Video's transformer and of its VAE's decoder with PyTorch in float64."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g4v.export.checkpoint.ltx import noise_scales
from g4v.export.verify.comparison import Feeds, error_of, worst_error
from g4v.export.verify.float64 import upcast_to_float64

_SEED = 20231125


def packed(latents: Tensor) -> Tensor:
    """[B, F * h * w, C] of latents [B, C, F, h, w], as LTXVideoTransformer3DModel takes them."""
    return latents.flatten(2).transpose(1, 2)


def predicted(
    model: Any,
    side: int,
    sample: Tensor,
    timestep: Tensor,
    encoder_hidden_states: Tensor,
    encoder_attention_mask: Tensor,
    frame_seconds: Tensor,
) -> Tensor:
    """What an LTXVideoTransformer3DModel makes of the inputs of its graph, [B, C, F, h, w].

    side: pixels of height, and of width, for one latent.
    """
    frames, height, width = sample.shape[2:]
    # Positions as the module has them where it is told seconds and pixels.
    axes = (frame_seconds.float(), torch.arange(float(height)) * side, torch.arange(float(width)) * side)
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    found: Tensor = model(
        packed(sample),
        encoder_hidden_states,
        timestep.expand(len(sample)),
        encoder_attention_mask,
        video_coords=coordinates.expand(len(sample), -1, -1),
    ).sample
    return found.transpose(1, 2).reshape(sample.shape)


@torch.no_grad()
def verify_ltx_transformer(
    model: Any,
    folder: Path,
    length: int,
    scales: tuple[int, int],
    stem: str = "transformer",
    feeds: Feeds = (),
) -> float:
    """Compares the transformer's graph. length: tokens of a text; scales: frames, and pixels of a side, for
    one latent.

    diffusers' module computes norms and rotary embeddings in float32 whatever its weights are, so that its
    own rounding, about 1e-7 a block, is in the error.
    """
    config, generator, random = model.config, torch.Generator().manual_seed(_SEED), []
    for batch, frames, height, width, step in ((2, 3, 8, 8, 980.5), (1, 1, 8, 5, 0.0)):
        shape = (batch, config.in_channels, frames, height, width)
        used = torch.randint(1, length + 1, (batch, 1), generator=generator)
        random.append(
            {
                "sample": torch.randn(shape, generator=generator),
                "timestep": torch.tensor([step]),
                "encoder_hidden_states": torch.randn(
                    batch, length, config.caption_channels, generator=generator
                ),
                "encoder_attention_mask": (torch.arange(length) < used).long(),
                "frame_seconds": torch.arange(float(frames)) * (scales[0] / 25),
            }
        )
    with upcast_to_float64(model):
        return worst_error(
            folder,
            stem,
            feeds or random,
            lambda **given: predicted(model, scales[1], **given),
            error_of(feeds),
        )


def whole_feeds(vae: Any, latents: Tensor, timestep: float) -> dict[str, np.ndarray]:
    """Inputs of the decoder's graph for latents [f, C, h, w], with the noises that `_decoded` draws."""
    feeds = {"latents": latents.float().numpy()}
    if vae.config.timestep_conditioning:
        feeds["timestep"] = np.array([timestep], np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        for index, scale in enumerate(noise_scales(vae)):
            shape = [side * scale for side in latents.shape[2:]]
            noise = torch.randn(shape, dtype=torch.float64)
            feeds[f"noise.{index}"] = noise[None, None].float().numpy()
    return feeds


def _decoded(vae: Any, given: Mapping[str, Tensor]) -> Tensor:
    latents = given["latents"].transpose(0, 1)[None]
    # The decoder draws the noise between its layers from the generator of all of PyTorch.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        images: Tensor = vae.decode(latents, given.get("timestep")).sample[0]
    return images.transpose(0, 1).clamp(-1, 1)


@torch.no_grad()
def verify_whole_vae_decoder(
    vae: Any, folder: Path, size: int, stem: str = "vae_decoder", feeds: Feeds = ()
) -> float:
    """Compares the decoder's graph. size: edge of the latents of random inputs. feeds: of `whole_feeds`."""
    channels, generator = vae.config.latent_channels, torch.Generator().manual_seed(_SEED)
    random = [
        whole_feeds(vae, torch.randn(f, channels, h, w, generator=generator), step)
        for f, h, w, step in ((3, size, size, 0.05), (1, size, size // 2, 0.0))
    ]
    with upcast_to_float64(vae):
        return worst_error(
            folder, stem, feeds or random, lambda **given: _decoded(vae, given), error_of(feeds)
        )
