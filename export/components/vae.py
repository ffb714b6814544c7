"""The VAE decoder's graph: latents [F, C, h, w] / scaling factor -> images [F, 3, H, W] in [-1, 1]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from g4v.export.components.diffusion_layers import conv, fold_group_norm, group_norm, resnet, upsample
from g4v.export.errors import ExportError
from g4v.export.graph.writer import Graph


def check_vae(config: Any) -> None:
    """ExportError for settings of an AutoencoderKL that the graph or the runtime cannot express."""
    for key in ("shift_factor", "latents_mean", "latents_std"):
        if getattr(config, key, None):
            raise ExportError(f"t2v/vae/config.json: {key} is not supported")
    other = set(config.up_block_types) - {"UpDecoderBlock2D"}
    if other:
        raise ExportError(f"t2v/vae/config.json: block type {other.pop()!r} is not supported")


def export_vae_decoder(
    vae: Any, folder: str | Path, stem: str = "vae_decoder", kind: type[Graph] = Graph
) -> list[str]:
    """Writes the decoder half of an AutoencoderKL into `folder`; returns the names of its files."""
    check_vae(vae.config)
    decoder = vae.decoder
    with kind(folder, stem) as g:
        channels = vae.config.latent_channels
        x = g.input("latents", "float32", ["frames", channels, "latent_height", "latent_width"])
        if vae.post_quant_conv is not None:
            x = conv(g, x, vae.post_quant_conv)
        x = conv(g, x, decoder.conv_in)
        middle = decoder.mid_block
        x = resnet(g, x, middle.resnets[0])
        for attention, block in zip(middle.attentions, middle.resnets[1:], strict=True):
            if attention is not None:
                x = _spatial_attention(g, x, attention)
            x = resnet(g, x, block)
        for stage in decoder.up_blocks:
            for block in stage.resnets:
                x = resnet(g, x, block)
            for block in stage.upsamplers or ():
                x = upsample(g, x, block)
        x = conv(g, g.silu(group_norm(g, x, decoder.conv_norm_out)), decoder.conv_out)
        # The convolution may overshoot the range of pixels.
        x = g.op("Clip", x, g.weight(torch.tensor(-1.0)), g.weight(torch.tensor(1.0)))
        g.output("images", x, "float32", ["frames", vae.config.out_channels, "height", "width"])
        g.save(shapes=True)
        return g.files


def _spatial_attention(g: Graph, x: str, block: Any) -> str:
    """The middle block's attention over all positions of a frame."""
    width = block.to_q.in_features
    tokens = g.transpose(g.reshape(group_norm(g, x, block.group_norm, affine=False), 0, width, -1), 0, 2, 1)
    parts = [fold_group_norm(block.group_norm, m) for m in (block.to_q, block.to_k, block.to_v)]
    q, k, v = (g.matmul(tokens, weight, bias) for weight, bias in parts)
    a = g.attention(q, k, v, block.heads, width)
    a = g.transpose(g.linear(a, block.to_out[0]), 0, 2, 1)
    a = g.op("Add", g.op("Reshape", a, g.op("Shape", x)), x)
    if block.rescale_output_factor != 1.0:
        a = g.op("Div", a, g.weight(torch.tensor(block.rescale_output_factor)))
    return a
