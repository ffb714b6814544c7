"""Counts operations of a UNet or a video transformer, and of a VAE, from the shapes of their weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

Tensors = Mapping[str, Sequence[int]]
# Layers of video transformers, Wan's and LTX-Video's, that are computed once, and once for a text.
_OF_TIME = ("condition_embedder.time_", "time_embed.", "scale_shift_table")
_OF_TEXT = ("condition_embedder.text_", "caption_projection.")


def convolved(tensors: Tensors, levels: int, positions: float) -> float:
    """Operations of the products of one frame of a UNet or a VAE decoder: each weight of a matrix is
    multiplied and added once for each position. positions: of its widest level; each further level has a
    quarter of them.
    """
    return sum(
        2.0 * math.prod(shape) * positions / 4 ** _level(name, levels)
        for name, shape in tensors.items()
        if "time_emb" not in name  # once for all positions
    )


def attended(tensors: Tensors, levels: int, positions: float) -> float:
    """Operations of the attention of a UNet's positions to each other, of one frame: two products of all
    positions by all, as wide as the layer. Arguments as for `convolved`.
    """
    total = 0.0
    for name, shape in tensors.items():
        if name.endswith("attn1.to_q.weight") and ".attentions." in name:  # others attend over frames
            total += 4.0 * shape[0] * (positions / 4 ** _level(name, levels)) ** 2
    return total


def transformed(tensors: Tensors, tokens: float, length: int) -> float:
    """Operations of the products of a video transformer, for one video: those of the text count its
    `length`, those of time none, and all others the tokens of the video, which also attend to each other and
    to the text.
    """
    total = 0.0
    for name, shape in tensors.items():
        if len(shape) < 2 or name.startswith(_OF_TIME):
            continue
        of_text = name.startswith(_OF_TEXT) or re.search(r"attn2\.to_[kv]\.", name)
        total += 2.0 * math.prod(shape) * (length if of_text else tokens)
        if name.endswith("attn1.to_q.weight"):
            total += 4.0 * shape[0] * tokens * (tokens + length)
    return total


def causal_convolved(tensors: Tensors, doubled: Sequence[bool], latents: float, frames: float) -> float:
    """Operations of the products of a causal VAE's decoder. doubled: whether each upsampler doubles frames
    too. latents: places of a latent frame. frames: latent frames.
    """
    total = 0.0
    for name, shape in tensors.items():
        match = re.search(r"up_blocks\.(\d+)\.", name)
        stage = int(match[1]) if match else 0
        if ".resample." in name:
            stage += 1
        elif name.startswith(("decoder.conv_out", "decoder.norm_out")):
            stage = len(doubled)
        total += 2.0 * math.prod(shape) * latents * 4.0**stage * frames * 2.0 ** sum(doubled[:stage])
    return total


def whole_convolved(tensors: Tensors, doubled: Sequence[bool], latents: float, frames: float) -> float:
    """Operations of the products of LTX-Video's VAE decoder. doubled: whether each block doubles frames,
    height and width, which it does before its resnets. latents, frames: as for `causal_convolved`.
    """
    total = 0.0
    for name, shape in tensors.items():
        if "time_embedder" in name or "scale_shift_table" in name:
            continue
        match = re.search(r"up_blocks\.(\d+)\.", name)
        block = int(match[1]) + (".resnets." in name) if match else 0
        if name.startswith("decoder.conv_out"):
            block = len(doubled)
        times = sum(doubled[:block])
        places = latents * 4.0**times * ((frames - 1) * 2.0**times + 1)  # the first frame is not doubled
        total += 2.0 * math.prod(shape) * places
    return total


def _level(name: str, levels: int) -> int:
    """How often the positions of a tensor's layer have been halved in each direction."""
    match = re.search(r"(down|up)_blocks\.(\d+)\.", name)
    if match:
        level = int(match[2]) if match[1] == "down" else levels - 1 - int(match[2])
        return max(level - 1, 0) if "upsamplers" in name else level
    low = "mid_block." in name or name.startswith(("decoder.conv_in", "post_quant"))
    return levels - 1 if low else 0
