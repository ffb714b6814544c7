"""The graphs of the VAE's two halves.

vae_decoder   latents [F, C, h, w] / scaling factor -> images [F, 3, H, W] in [-1, 1]
vae_encoder   images [F, 3, H, W] in [-1, 1] -> moments [F, 2 C, h, w]: means of the latents, then logarithms
              of their variances
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from g4v.export.checkpoint.video_sizes import vae_scale
from g4v.export.components.component import Component
from g4v.export.components.diffusion_layers import (
    conv,
    fold_group_norm,
    group_norm,
    norm_silu_conv,
    resnet,
    upsample,
)
from g4v.export.components.profile import DimensionRange, ShapeProfile
from g4v.export.components.text_to_video import video_profile
from g4v.export.errors import ExportError
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Lowering
from g4v.export.verify.comparison import Feeds, verify_vae_decoder, verify_vae_encoder


class VaeDecoder(Component):
    """Frames from latents."""

    name = "vae_decoder"

    def load(self) -> Any:
        return self.checkpoint.vae()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        return export_vae_decoder(module, folder, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        config = module.config
        return {
            "latent_channels": config.latent_channels,
            "scale_factor": 2 ** (len(config.block_out_channels) - 1),
            "scaling_factor": config.scaling_factor,
        }

    @property
    def profile(self) -> ShapeProfile:
        return video_profile(self.checkpoint, "latent_height", "latent_width")

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify_vae_decoder(module, folder, 8, stem, feeds)


class VaeEncoder(Component):
    """Latents from frames: for videos that are made from a video or a picture."""

    name = "vae_encoder"

    def load(self) -> Any:
        return self.checkpoint.vae()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        return export_vae_encoder(module, folder, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        return {}  # its latents are those of the decoder

    @property
    def profile(self) -> ShapeProfile:
        latents = video_profile(self.checkpoint, "height", "width")
        scale = vae_scale(self.checkpoint.parts["t2v"])
        sides = {name: DimensionRange.fixed(latents[name].max * scale) for name in ("height", "width")}
        return {"frames": latents["frames"], **sides}

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        size = 8 * vae_scale(self.checkpoint.parts["t2v"])
        return verify_vae_encoder(module, folder, size, stem, feeds)


def check_vae(config: Any) -> None:
    """ExportError for settings of an AutoencoderKL that the graph or the runtime cannot express."""
    for key in ("shift_factor", "latents_mean", "latents_std"):
        if getattr(config, key, None):
            raise ExportError(f"t2v/vae/config.json: {key} is not supported")
    other = set(config.up_block_types) - {"UpDecoderBlock2D"}
    if other:
        raise ExportError(f"t2v/vae/config.json: block type {other.pop()!r} is not supported")


def export_vae_decoder(
    vae: Any, folder: str | Path, stem: str = "vae_decoder", lowering: Lowering = CPU
) -> list[str]:
    """Writes the decoder half of an AutoencoderKL into `folder`; returns the names of its files."""
    check_vae(vae.config)
    decoder = vae.decoder
    with lowering.open(folder, stem) as ops:
        g, channels = ops.g, vae.config.latent_channels
        x = g.input("latents", "float32", ["frames", channels, "latent_height", "latent_width"])
        if vae.post_quant_conv is not None:
            x = conv(ops, x, vae.post_quant_conv)
        x = _middle(ops, conv(ops, x, decoder.conv_in), decoder.mid_block)
        for number, stage in enumerate(decoder.up_blocks):
            for block in stage.resnets:
                x = resnet(ops, x, block, many_pixels=number > 0)
            for block in stage.upsamplers or ():
                x = upsample(ops, x, block)
        x = norm_silu_conv(ops, x, decoder.conv_norm_out, decoder.conv_out)
        # The convolution may overshoot the range of pixels.
        x = g.op("Clip", x, g.weight(torch.tensor(-1.0)), g.weight(torch.tensor(1.0)))
        g.output("images", x, "float32", ["frames", vae.config.out_channels, "height", "width"])
        g.save(shapes=True)
        return g.files


def export_vae_encoder(
    vae: Any, folder: str | Path, stem: str = "vae_encoder", lowering: Lowering = CPU
) -> list[str]:
    """Writes the encoder half of an AutoencoderKL into `folder`; returns the names of its files.

    ExportError: a setting that the graph cannot express.
    """
    check_vae(vae.config)
    other = set(vae.config.down_block_types) - {"DownEncoderBlock2D"}
    if other:
        raise ExportError(f"t2v/vae/config.json: block type {other.pop()!r} is not supported by the encoder")
    encoder = vae.encoder
    with lowering.open(folder, stem) as ops:
        g, channels = ops.g, vae.config.latent_channels
        x = g.input("images", "float32", ["frames", vae.config.in_channels, "height", "width"])
        x = conv(ops, x, encoder.conv_in)
        for stage in encoder.down_blocks:
            for block in stage.resnets:
                x = resnet(ops, x, block)
            for block in stage.downsamplers or ():
                x = _halve(ops, x, block)
        x = _middle(ops, x, encoder.mid_block)
        x = norm_silu_conv(ops, x, encoder.conv_norm_out, encoder.conv_out)
        if vae.quant_conv is not None:
            x = conv(ops, x, vae.quant_conv)
        g.output("moments", x, "float32", ["frames", 2 * channels, "latent_height", "latent_width"])
        g.save(shapes=True)
        return g.files


def _halve(ops: Lowering, x: str, block: Any) -> str:
    """A convolution of stride 2, padded below and to the right alone, as the VAE's Downsample2D is."""
    if not block.use_conv or block.norm is not None or block.padding != 0:
        raise ExportError("a VAE's downsampler with padding of its own, or no convolution, is not supported")
    module = block.conv
    return ops.convolution(x, module.weight, module.bias, strides=module.stride, pads=[0, 0, 1, 1])


def _middle(ops: Lowering, x: str, middle: Any) -> str:
    # At the latents' size, as the decoder's first stage: a few percent of the work, half of the weights.
    x = resnet(ops, x, middle.resnets[0], many_pixels=False)
    for attention, block in zip(middle.attentions, middle.resnets[1:], strict=True):
        if attention is not None:
            x = _spatial_attention(ops, x, attention)
        x = resnet(ops, x, block, many_pixels=False)
    return x


def _spatial_attention(ops: Lowering, x: str, block: Any) -> str:
    """The middle block's attention over all positions of a frame."""
    g, width = ops.g, block.to_q.in_features
    tokens = group_norm(ops, x, block.group_norm, affine=False)
    tokens = g.transpose(g.reshape(tokens, 0, width, -1), 0, 2, 1)
    parts = [fold_group_norm(block.group_norm, m) for m in (block.to_q, block.to_k, block.to_v)]
    q, k, v = (ops.matmul(tokens, weight, bias) for weight, bias in parts)
    a = ops.attention(q, k, v, block.heads, width)
    a = g.transpose(ops.linear(a, block.to_out[0]), 0, 2, 1)
    a = g.op("Add", g.op("Reshape", a, g.op("Shape", x)), x)
    if block.rescale_output_factor != 1.0:
        a = g.op("Div", a, g.weight(torch.tensor(block.rescale_output_factor)))
    return a
