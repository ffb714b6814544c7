"""The decoder of LTX-Video's VAE (diffusers' AutoencoderKLLTXVideo), all latent frames of a video at once.

    latents [f, C, h, w], timestep float32 [1] (where it is conditioned), noise.0 [1, 1, h0, w0], noise.1, ...
    (where it adds noise between its layers) -> images [F, 3, H, W] in [-1, 1]

A convolution over time sees the frame after, too, so that the first frame depends on frames far ahead: more
than most videos have. At the ends it repeats the first and the last frame; a causal one repeats the first
frame twice.

Frames are the batch of all operators, and a convolution over three frames is the sum of three over one, which
ONNX Runtime adds up in place: its convolutions of images are its fastest, and three times the channels side
by side would take twice the memory. Channels that become neighbours in height and width are in the order of
DepthToSpace: the weights before it are reordered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v.export.checkpoint.ltx import noise_scales
from g4v.export.checkpoint.video_sizes import frame_scale, vae_scale
from g4v.export.components.component import Component
from g4v.export.components.modulation import modulation, scaled, time_embedding
from g4v.export.components.profile import DimensionRange, ShapeProfile
from g4v.export.components.text_to_video import video_profile
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Lowering
from g4v.export.verify.comparison import Feeds
from g4v.export.verify.ltx import verify_whole_vae_decoder

_NORM_EPSILON = 1e-8  # of the norms over channels, in diffusers' class


class WholeVaeDecoder(Component):
    """Frames from latents, a whole video at once."""

    name = "vae_decoder"

    def load(self) -> Any:
        return self.checkpoint.vae()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        return export_whole_vae_decoder(module, folder, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        config, folder = module.config, self.checkpoint.parts["t2v"]
        whole: dict[str, Any] = {"frames_per_latent": frame_scale(folder)}
        if config.timestep_conditioning:
            whole["timestep"] = True
        if scales := noise_scales(module):
            whole["noise_scales"] = scales
        return {
            "latent_channels": config.latent_channels,
            "scale_factor": vae_scale(folder),
            "scaling_factor": config.scaling_factor,
            "latents_mean": module.latents_mean.tolist(),
            "latents_std": module.latents_std.tolist(),
            "whole": whole,
        }

    @property
    def profile(self) -> ShapeProfile:
        sizes = dict(video_profile(self.checkpoint, "latent_height", "latent_width"))
        scale = frame_scale(self.checkpoint.parts["t2v"])  # height and width are doubled with the frames
        while scale > 1:
            for name, latents in zip(_sides(scale), _sides(1), strict=True):
                sizes[name] = DimensionRange.fixed(sizes[latents].max * scale)
            scale //= 2
        return sizes

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify_whole_vae_decoder(module, folder, 6, stem, feeds)


def _sides(scale: int) -> list[str]:
    """Names of height and width that are `scale` times those of the latents."""
    return [f"latent_{side}" if scale == 1 else f"{side}_x{scale}" for side in ("height", "width")]


def export_whole_vae_decoder(
    vae: Any, folder: str | Path, stem: str = "vae_decoder", lowering: Lowering = CPU
) -> list[str]:
    """Writes the decoder half of an AutoencoderKLLTXVideo into `folder`; returns the names of its files."""
    with lowering.open(folder, stem) as ops, torch.no_grad():
        _Builder(ops, vae).build()
        ops.g.save()
        return ops.g.files


class _Builder:
    """Holds the time step and the noises that are left. x is [F, C, h, w] everywhere."""

    def __init__(self, ops: Lowering, vae: Any) -> None:
        self.g, self.ops, self.vae = ops.g, ops, vae

    def build(self) -> None:
        g, ops, decoder, config = self.g, self.ops, self.vae.decoder, self.vae.config
        x = g.input("latents", "float32", ["frames", config.latent_channels, *_sides(1)])
        self.timestep = ""
        if config.timestep_conditioning:
            given = g.input("timestep", "float32", [1], keep_float32=True)
            multiplier = g.weight(decoder.timestep_scale_multiplier.reshape(1), float32=True)
            self.timestep = g.op("Mul", given, multiplier)
        self.noises = [
            g.input(f"noise.{i}", "float32", [1, 1, *_sides(scale)])
            for i, scale in enumerate(noise_scales(self.vae))
        ]
        self.noises.reverse()

        x = self.over_time(x, decoder.conv_in)
        x = self.resnets(x, decoder.mid_block)
        for stage in decoder.up_blocks:
            if stage.conv_in is not None:
                x = self.resnet(x, stage.conv_in, None)
            for sampler in stage.upsamplers or ():
                x = self.upsample(x, sampler)
            x = self.resnets(x, stage)
        x = self.norm(x, decoder.conv_out.in_channels)
        if decoder.time_embedder is not None:
            shift, scale = self.rows(self.embedded(decoder.time_embedder), decoder.scale_shift_table, (1,))
            x = scaled(ops, x, scale, shift)
        patch, colours = decoder.patch_size, config.out_channels
        # Of each colour the places of a patch, columns first.
        order = torch.arange(colours * patch**2).reshape(colours, patch, patch).transpose(1, 2).flatten()
        x = self.over_time(ops.silu(x), decoder.conv_out, order)
        if patch > 1:
            x = g.op("DepthToSpace", x, blocksize=patch, mode="CRD")
        # The convolution may overshoot the range of pixels.
        x = g.op("Clip", x, g.weight(torch.tensor(-1.0)), g.weight(torch.tensor(1.0)))
        g.output("images", x, "float32", ["image_frames", colours, "height", "width"])

    def over_time(self, x: str, module: Any, order: Tensor | None = None) -> str:
        """An LTXVideoCausalConv3d with a kernel of three frames, or of one. order: of its outputs."""
        g, conv = self.g, module.conv
        weight, bias = conv.weight, conv.bias
        if order is not None:
            weight, bias = weight[order], bias[order]
        kernel = module.kernel_size[0]
        _, high, wide = conv.padding
        pads = [high, wide, high, wide]
        if kernel == 1:
            return self.ops.convolution(x, weight[:, :, 0], bias, pads=pads)
        before = kernel - 1 if module.is_causal else (kernel - 1) // 2
        first, last = g.slice(x, 0, 0, 1), g.slice(x, 0, -1)
        padded = g.concat(*[first] * before, x, *[last] * (kernel - 1 - before), axis=0)
        total = ""
        for i in range(kernel):
            span = g.slice(padded, 0, i, i - kernel + 1) if i < kernel - 1 else g.slice(padded, 0, i)
            made = self.ops.convolution(span, weight[:, :, i], bias if i == 0 else None, pads=pads)
            total = made if not total else g.op("Add", total, made)
        return total

    def norm(self, x: str, channels: int) -> str:
        return self.ops.channel_rms_norm(x, channels, _NORM_EPSILON)

    def embedded(self, embedder: Any) -> str:
        """[1, N * C] of the time step."""
        channels = embedder.time_proj.num_channels
        return time_embedding(self.ops, self.timestep, channels, embedder.timestep_embedder)

    def rows(self, time: str, table: Tensor, scales: tuple[int, ...]) -> list[str]:
        """Rows [1, C, 1, 1] of `table` [N, C] plus the time; scales: as in `modulation`."""
        count, channels = table.shape
        made = modulation(self.ops, self.g.reshape(time, 1, count, channels), table[None], scales)
        return [self.g.reshape(row, 1, channels, 1, 1) for row in made]

    def resnets(self, x: str, stage: Any) -> str:
        time = None if stage.time_embedder is None else self.embedded(stage.time_embedder)
        for block in stage.resnets:
            x = self.resnet(x, block, time)
        return x

    def resnet(self, x: str, block: Any, time: str | None) -> str:
        """An LTXVideoResnetBlock3d."""
        g, ops = self.g, self.ops
        rows: list[str] = []
        if time is not None:
            shift_1, scale_1, shift_2, scale_2 = self.rows(time, block.scale_shift_table, (1, 3))
            rows = [scale_1, shift_1, scale_2, shift_2]
        h = self.norm(x, block.conv1.in_channels)
        if rows:
            h = scaled(ops, h, rows[0], rows[1])
        h = self.noisy(self.over_time(ops.silu(h), block.conv1), block.per_channel_scale1)
        h = self.norm(h, block.conv1.out_channels)
        if rows:
            h = scaled(ops, h, rows[2], rows[3])
        h = self.noisy(self.over_time(ops.silu(h), block.conv2), block.per_channel_scale2)
        if block.norm3 is not None:
            x = g.transpose(ops.layer_norm(g.transpose(x, 0, 2, 3, 1), block.norm3), 0, 3, 1, 2)
        if block.conv_shortcut is not None:
            x = self.over_time(x, block.conv_shortcut)
        return g.op("Add", h, x)

    def noisy(self, x: str, scale: Tensor | None) -> str:
        """x and the next noise, the same in all frames, times the scale of each channel."""
        if scale is None:
            return x
        g = self.g
        return g.op("Add", x, g.op("Mul", self.noises.pop(), g.weight(scale[None])))

    def upsample(self, x: str, block: Any) -> str:
        """An LTXVideoUpsampler3d: doubles frames, height and width, and leaves out the first frame."""
        g = self.g
        outputs = block.conv.out_channels
        # Frames first, then channels, then the places of a square.
        order = torch.arange(outputs).reshape(-1, 2, 4).transpose(0, 1).flatten()
        made = self._spread(self.over_time(x, block.conv, order), outputs // 2)
        if not block.residual:
            return made
        inputs = block.conv.in_channels
        shape = g.concat(g.ints(-1, inputs // 2), g.op("Shape", x, start=2, end=4), axis=0)
        repeated = g.transpose(g.reshape(x, 0, inputs // 8, 2, 4, -1), 0, 2, 1, 3, 4)
        repeated = self._spread(g.op("Reshape", repeated, shape), inputs // 2)
        copies = 8 // block.upscale_factor
        if copies > 1:
            repeated = g.concat(*[repeated] * copies, axis=1)
        return g.op("Add", made, repeated)

    def _spread(self, x: str, channels: int) -> str:
        """[2 F - 1, channels / 4, 2 h, 2 w] of [F, 2 * channels, h, w]."""
        g = self.g
        x = g.reshape(x, -1, channels, 0, 0)
        return g.slice(g.op("DepthToSpace", x, blocksize=2, mode="CRD"), 0, 1)
