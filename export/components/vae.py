"""The VAE decoder's graph: latents [F, C, h, w] / scaling factor -> images [F, 3, H, W] in [-1, 1]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from g4v.export.components.component import Component
from g4v.export.components.diffusion_layers import conv, fold_group_norm, group_norm, resnet, upsample
from g4v.export.components.profile import ShapeProfile
from g4v.export.components.text_to_video import video_profile
from g4v.export.errors import ExportError
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Lowering
from g4v.export.verify.comparison import Feeds, verify_vae_decoder


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
        x = conv(ops, x, decoder.conv_in)
        middle = decoder.mid_block
        x = resnet(ops, x, middle.resnets[0])
        for attention, block in zip(middle.attentions, middle.resnets[1:], strict=True):
            if attention is not None:
                x = _spatial_attention(ops, x, attention)
            x = resnet(ops, x, block)
        for stage in decoder.up_blocks:
            for block in stage.resnets:
                x = resnet(ops, x, block)
            for block in stage.upsamplers or ():
                x = upsample(ops, x, block)
        x = conv(ops, ops.silu(group_norm(ops, x, decoder.conv_norm_out)), decoder.conv_out)
        # The convolution may overshoot the range of pixels.
        x = g.op("Clip", x, g.weight(torch.tensor(-1.0)), g.weight(torch.tensor(1.0)))
        g.output("images", x, "float32", ["frames", vae.config.out_channels, "height", "width"])
        g.save(shapes=True)
        return g.files


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
