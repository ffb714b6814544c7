"""Compares the graph of a causal video VAE's decoder, which takes a video chunk by chunk, with PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g4v.export.checkpoint.causal_vae import KEPT, caches_of
from g4v.export.verify.comparison import Feeds, is_coarse
from g4v.export.verify.error_measures import norm_error, relative_error
from g4v.export.verify.float64 import upcast_to_float64
from g4v.export.verify.session import open_for_comparison

_SEED = 20231125


def empty_caches(vae: Any, height: int, width: int) -> list[Tensor]:
    """Zeros float32 [2, C, h, w] for the first chunk of a video. height, width: of its latents."""
    return [
        torch.zeros(KEPT, cache.channels, height * cache.scale, width * cache.scale)
        for cache in caches_of(vae)
    ]


def decode_chunk(
    vae: Any, latents: Tensor, caches: Sequence[Tensor], first: bool
) -> tuple[Tensor, list[Tensor]]:
    """What an AutoencoderKLWan makes of one latent frame: frames [T, 3, H, W] and the next chunk's caches.

    latents: [1, C, h, w]. caches: [2, C, h, w] each. first: whether nothing was before; T is then 1.
    """
    kept: list[Any] = [None if first else cache.transpose(0, 1)[None] for cache in caches]
    x = vae.post_quant_conv(latents.transpose(0, 1)[None])
    images = vae.decoder(x, feat_cache=kept, feat_idx=[0], first_chunk=first)
    found = []
    for before, after in zip(caches, kept, strict=True):
        frames = before * 0 if isinstance(after, str) else after[0].transpose(0, 1)
        found.append(torch.cat([before[: KEPT - len(frames)] * 0, frames]))
    return images[0].transpose(0, 1).clamp(-1, 1), found


def chunk_feeds(latents: Tensor, caches: Sequence[Tensor], first: bool) -> dict[str, np.ndarray]:
    """Inputs of the graph for one latent frame, as `decode_chunk` takes them."""
    feeds = {"latents": latents.float().numpy(), "first": np.array([int(first)], np.int64)}
    return feeds | {f"cache.{i}": cache.float().numpy() for i, cache in enumerate(caches)}


@torch.no_grad()
def verify_causal_vae_decoder(
    vae: Any, folder: Path, size: int, stem: str = "vae_decoder", feeds: Feeds = ()
) -> float:
    """Returns the worst error of the graph `folder`/`stem`.onnx, as the functions of `comparison` do.

    size: edge of the latents of random inputs. Without `feeds` whole random videos go through the graph chunk
    by chunk, its own caches with them, and are compared with what PyTorch makes of them in float64. With
    `feeds` each is a chunk of its own.
    """
    session = open_for_comparison(folder, stem)
    channels, generator = vae.config.z_dim, torch.Generator().manual_seed(_SEED)
    if feeds:
        inputs: list[Any] = [dict(given) for given in feeds]
        outputs = [session.run(["images"], given)[0] for given in inputs]
    else:
        shapes = ((3, size, size), (1, size, size // 2))
        inputs = [torch.randn(f, channels, h, w, generator=generator) for f, h, w in shapes]
        outputs = [_decoded(session, vae, latents) for latents in inputs]
    del session
    error = norm_error if feeds or is_coarse(folder / f"{stem}.onnx") else relative_error
    found = 0.0
    with upcast_to_float64(vae):
        for given, made in zip(inputs, outputs, strict=True):
            wanted = _chunk(vae, given) if feeds else _whole(vae, given)
            found = max(found, error(made[: len(wanted)], wanted))
    return found


def _decoded(session: Any, vae: Any, latents: Tensor) -> np.ndarray:
    """float32 [F, 3, H, W] of latents [f, C, h, w], by the graph alone."""
    caches: Sequence[Any] = empty_caches(vae, *latents.shape[2:])
    frames = []
    for i, frame in enumerate(latents):
        images, *made = session.run(None, chunk_feeds(frame[None], caches, i == 0))
        frames.append(images[:1] if i == 0 else images)
        caches = [torch.from_numpy(cache) for cache in made]
    return np.concatenate(frames)


def _whole(vae: Any, latents: Tensor) -> Tensor:
    frames: Tensor = vae.decode(latents.double().transpose(0, 1)[None]).sample[0]
    return frames.transpose(0, 1)


def _chunk(vae: Any, given: Mapping[str, np.ndarray]) -> Tensor:
    caches = [torch.as_tensor(given[f"cache.{i}"]).double() for i in range(len(caches_of(vae)))]
    latents = torch.as_tensor(given["latents"]).double()
    return decode_chunk(vae, latents, caches, bool(given["first"][0]))[0]
