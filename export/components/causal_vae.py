"""The decoder of a causal video VAE (diffusers' AutoencoderKLWan), one latent frame at a time.

    latents [1, C, h, w], first int64 [1], cache.0 [2, C0, h0, w0], cache.1, ...
        -> images [T, 3, H, W] in [-1, 1], next_cache.0, next_cache.1, ...

Its convolutions over time see the frames before and none after. What each needs of the chunk before, the last
two frames that it read, is a cache: an output here and an input of the next chunk, zeros for the first chunk.
So a video of any length takes the memory of one chunk. A next cache may share its memory with the cache that
it follows: that one is read before the next is made of what was read.

The first latent stands for one frame, all others for T, which are doubled step by step. To keep one graph
with fixed numbers of frames, a first chunk repeats its frame where others make two, and caches keep the first
of them alone; of its images the first is the frame, and the others are to be left out.

Frames are the batch of all operators, and a convolution over three frames is one over three times the
channels: ONNX Runtime's convolutions of images are its fastest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from g4v.export.checkpoint.causal_vae import KEPT, caches_of
from g4v.export.checkpoint.video_sizes import frame_scale, vae_scale
from g4v.export.components.component import Component
from g4v.export.components.diffusion_layers import conv, nearest
from g4v.export.components.profile import DimensionRange, ShapeProfile
from g4v.export.components.text_to_video import video_profile
from g4v.export.errors import ExportError
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Lowering
from g4v.export.verify.causal_vae import verify_causal_vae_decoder
from g4v.export.verify.comparison import Feeds


class CausalVaeDecoder(Component):
    """Frames from latents, chunk by chunk."""

    name = "vae_decoder"

    def load(self) -> Any:
        return self.checkpoint.vae()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        return export_causal_vae_decoder(module, folder, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        config, folder = module.config, self.checkpoint.parts["t2v"]
        return {
            "latent_channels": config.z_dim,
            "scale_factor": vae_scale(folder),
            "scaling_factor": 1.0,
            "latents_mean": list(config.latents_mean),
            "latents_std": list(config.latents_std),
            "causal": {
                "frames_per_latent": frame_scale(folder),
                "caches": [cache._asdict() for cache in caches_of(module)],
            },
        }

    @property
    def profile(self) -> ShapeProfile:
        sizes = dict(video_profile(self.checkpoint, "latent_height", "latent_width"))
        del sizes["frames"]
        most = scale = vae_scale(self.checkpoint.parts["t2v"])
        while scale > 1:
            for name, latents in zip(_sides(scale, most), _sides(1, most), strict=True):
                sizes[name] = DimensionRange.fixed(sizes[latents].max * scale)
            scale //= 2
        return sizes

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify_causal_vae_decoder(module, folder, 8, stem, feeds)


def _sides(scale: int, most: int) -> list[str]:
    """Names of height and width that are `scale` times those of the latents; `most` times are the images'."""
    if scale == 1:
        return ["latent_height", "latent_width"]
    return [side if scale == most else f"{side}_x{scale}" for side in ("height", "width")]


def export_causal_vae_decoder(
    vae: Any, folder: str | Path, stem: str = "vae_decoder", lowering: Lowering = CPU
) -> list[str]:
    """Writes the graph of an AutoencoderKLWan's decoder into `folder`; returns the names of its files."""
    with lowering.open(folder, stem) as ops, torch.no_grad():
        _Builder(ops, vae).build()
        ops.g.save()  # the inference of shapes does not know that sides of caches are those of x
        return ops.g.files


class _Builder:
    """Holds the caches, and whether the chunk is the first. x is [T, C, h, w] everywhere."""

    def __init__(self, ops: Lowering, vae: Any) -> None:
        self.g, self.ops, self.vae = ops.g, ops, vae
        self.caches = caches_of(vae)
        self.frames = 1  # of x
        self.made: list[str] = []  # the next caches

    def build(self) -> None:
        g, ops, decoder = self.g, self.ops, self.vae.decoder
        channels = self.vae.config.z_dim
        x = g.input("latents", "float32", [1, channels, "latent_height", "latent_width"])
        first = g.input("first", "int64", [1])
        self.first = g.op("Greater", first, g.weight(np.array([0], np.int64)))
        most = max(cache.scale for cache in self.caches)
        shapes: list[list[int | str]] = [
            [KEPT, cache.channels, *_sides(cache.scale, most)] for cache in self.caches
        ]
        self.inputs = [g.input(f"cache.{i}", "float32", shape) for i, shape in enumerate(shapes)]

        x = self._flat(x, self.vae.post_quant_conv)
        x = self.causal(x, decoder.conv_in)
        middle = decoder.mid_block
        x = self.resnet(x, middle.resnets[0])
        for attention, block in zip(middle.attentions, middle.resnets[1:], strict=True):
            x = self.resnet(self.attention(x, attention), block)
        for stage in decoder.up_blocks:
            for block in stage.resnets:
                x = self.resnet(x, block)
            for sampler in stage.upsamplers or ():
                x = self.upsample(x, sampler)
        x = self.causal(ops.silu(self.norm(x, decoder.norm_out)), decoder.conv_out)
        # The convolution may overshoot the range of pixels.
        x = g.op("Clip", x, g.weight(torch.tensor(-1.0)), g.weight(torch.tensor(1.0)))
        g.output("images", x, "float32", [self.frames, decoder.conv_out.out_channels, "height", "width"])
        for i, (value, shape) in enumerate(zip(self.made, shapes, strict=True)):
            g.output(f"next_cache.{i}", value, "float32", shape)

    def causal(self, x: str, module: Any, keeps_first: bool = True) -> str:
        """A WanCausalConv3d with a kernel of three frames. keeps_first: whether its cache has the frame of a
        first chunk.
        """
        g, frames, index = self.g, self.frames, len(self.made)
        padded = g.concat(self.inputs[index], x, axis=0)
        following = g.slice(padded, 0, frames, frames + KEPT)
        if keeps_first and frames == 1:
            self.made.append(following)
        else:
            start = 1 if keeps_first else 0
            fresh = g.slice(padded, 0, start, start + KEPT)
            self.made.append(g.op("Where", self.first, fresh, following))
        if frames == 1:
            stacked = g.reshape(padded, 1, -1, 0, 0)
        else:
            spans = [g.slice(padded, 0, start, start + frames) for start in range(KEPT + 1)]
            stacked = g.concat(*spans, axis=1)
        weight = module.weight.transpose(1, 2).flatten(1, 2)
        wide, high = module._padding[0], module._padding[2]
        return self.ops.convolution(stacked, weight, module.bias, pads=[high, wide, high, wide])

    def _flat(self, x: str, module: nn.Conv3d) -> str:
        """A convolution of single places, as a product over channels."""
        return self.ops.convolution(x, module.weight[:, :, 0], module.bias)

    def norm(self, x: str, module: Any) -> str:
        weight = module.gamma.double().flatten() * module.scale
        return self.ops.channel_norm(x, weight.reshape(1, -1, 1, 1))

    def resnet(self, x: str, block: Any) -> str:
        """A WanResidualBlock."""
        ops = self.ops
        h = self.causal(ops.silu(self.norm(x, block.norm1)), block.conv1)
        h = self.causal(ops.silu(self.norm(h, block.norm2)), block.conv2)
        if not isinstance(block.conv_shortcut, nn.Identity):
            x = self._flat(x, block.conv_shortcut)
        return self.g.op("Add", h, x)

    def attention(self, x: str, block: Any) -> str:
        """A WanAttentionBlock: all places of a frame attend to each other, by one head."""
        g, ops = self.g, self.ops
        tokens = g.transpose(g.reshape(self.norm(x, block.norm), 0, block.dim, -1), 0, 2, 1)
        a = ops.self_attention(tokens, block.to_qkv.weight.flatten(1).t(), block.to_qkv.bias, 1)
        a = g.transpose(ops.matmul(a, block.proj.weight.flatten(1).t(), block.proj.bias), 0, 2, 1)
        return g.op("Add", g.op("Reshape", a, g.op("Shape", x)), x)

    def upsample(self, x: str, block: Any) -> str:
        """A WanResample: doubles height and width, and of "upsample3d" the frames too."""
        g, ops = self.g, self.ops
        if block.mode == "upsample3d":
            made = self.causal(x, block.time_conv, keeps_first=False)  # [T, 2 C, h, w]
            repeated = g.concat(x, x, axis=1)
            self.frames *= 2
            pairs = (g.reshape(part, self.frames, block.dim, 0, 0) for part in (repeated, made))
            x = g.op("Where", self.first, *pairs)
        elif block.mode != "upsample2d":
            raise ExportError(f"t2v/vae: an upsampler of the kind {block.mode!r} is not supported")
        return conv(ops, nearest(ops, x), block.resample[1])
