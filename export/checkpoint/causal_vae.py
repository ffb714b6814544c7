"""What the decoder of a causal video VAE keeps of one chunk of a video for the next."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

KEPT = 2  # frames of a cache: a kernel of three reads so many before its own


class Cache(NamedTuple):
    """The last `KEPT` input frames of a convolution over time.

    channels: of a frame. scale: how many times as high and as wide as the latents it is.
    """

    channels: int
    scale: int


def caches_of(vae: Any) -> list[Cache]:
    """The caches of an AutoencoderKLWan's decoder, in the order in which it comes to them."""
    found: list[Cache] = []
    decoder, scale = vae.decoder, 1

    def add(*layers: nn.Conv3d) -> None:
        found.extend(Cache(layer.in_channels, scale) for layer in layers)

    add(decoder.conv_in)
    for block in decoder.mid_block.resnets:
        add(block.conv1, block.conv2)
    for stage in decoder.up_blocks:
        for block in stage.resnets:
            add(block.conv1, block.conv2)
        for sampler in stage.upsamplers or ():
            if sampler.mode == "upsample3d":
                add(sampler.time_conv)
            scale *= 2
    add(decoder.conv_out)
    return found
