"""The text-to-video UNet's graph (diffusers' UNet3DConditionModel).

    sample [B, C, F, h, w], timestep float32 [1], encoder_hidden_states [B, L, D]
        -> prediction [B, C, F, h, w]

Against a trace of the module: the time embedding is projected once for all blocks, text keys and values are
computed once per batch entry and not once per frame, scale and shift of the norms before projections are
folded into them, and batch, frames, height, width and text length are all dynamic.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from g4v.export.components.component import Component
from g4v.export.components.diffusion_layers import (
    channel_matmul,
    conv,
    downsample,
    fold_group_norm,
    group_norm,
    norm_silu_conv,
    norm_silu_convolution,
    resnet,
    upsample,
)
from g4v.export.components.profile import ShapeProfile
from g4v.export.components.text_to_video import text_length, text_profile, video_profile
from g4v.export.components.transformer import fused_qkv
from g4v.export.errors import ExportError
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Int8, Lowering
from g4v.export.verify.comparison import Feeds, verify_unet

_BLOCKS = ("CrossAttnDownBlock3D", "DownBlock3D", "CrossAttnUpBlock3D", "UpBlock3D")


class UNet(Component):
    """One step of denoising a video."""

    name = "unet"

    def load(self) -> Any:
        return self.checkpoint.unet()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        return export_unet(module, folder, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        config = module.config
        return {
            "latent_channels": config.in_channels,
            "cross_attention_dim": config.cross_attention_dim,
            "timestep_dtype": "float32",
        }

    @property
    def profile(self) -> ShapeProfile:
        return {**text_profile(self.checkpoint), **video_profile(self.checkpoint, "height", "width")}

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify_unet(module, folder, text_length(self.checkpoint), 8, stem, feeds)


def check_unet(config: Any) -> None:
    """ExportError for settings that the graph cannot express."""
    for name in (*config.down_block_types, *config.up_block_types):
        if name not in _BLOCKS:
            raise ExportError(f"t2v/unet/config.json: block type {name!r} is not supported")
    if config.act_fn != "silu":
        raise ExportError(f"t2v/unet/config.json: act_fn {config.act_fn!r} is not supported, only 'silu'")
    if config.time_cond_proj_dim:
        raise ExportError("t2v/unet/config.json: time_cond_proj_dim is not supported")
    if config.norm_num_groups is None:
        raise ExportError("t2v/unet/config.json: norm_num_groups is missing")


def export_unet(unet: Any, folder: str | Path, stem: str = "unet", lowering: Lowering = CPU) -> list[str]:
    """Writes the graph of a UNet3DConditionModel into `folder`; returns the names of its files."""
    check_unet(unet.config)
    with lowering.open(folder, stem) as ops, torch.no_grad():
        _Builder(ops, unet).build()
        ops.g.save(shapes=True)
        return ops.g.files


class _Builder:
    """Holds what the blocks share: the text, the batch size, the frame count and the time projections."""

    def __init__(self, ops: Lowering, unet: Any) -> None:
        self.g, self.ops = ops.g, ops
        self.unet = unet

    def build(self) -> None:
        g, ops, unet, config = self.g, self.ops, self.unet, self.unet.config
        sizes = ["frames", "height", "width"]
        sample = g.input("sample", "float32", ["batch", config.in_channels, *sizes])
        timestep = g.input("timestep", "float32", [1], keep_float32=True)
        text = ["batch", "length", config.cross_attention_dim]
        self.text = g.input("encoder_hidden_states", "float32", text)
        self.batch, self.frames = g.dimension(sample, 0), g.dimension(sample, 2)
        self._project_time(timestep)

        x = g.transpose(sample, 0, 2, 1, 3, 4)  # [B, F, C, h, w]
        image = g.op("Shape", sample, start=3, end=5)
        x = g.op("Reshape", x, g.concat(g.ints(-1, config.in_channels), image, axis=0))
        x = conv(ops, x, unet.conv_in)  # [B*F, C, h, w]
        x = self.temporal_transformer(x, unet.transformer_in)
        skips = [x]
        for block in unet.down_blocks:
            for i in range(len(block.resnets)):
                x = self.layer(x, block, i)
                skips.append(x)
            for sampler in block.downsamplers or ():
                x = downsample(ops, x, sampler)
                skips.append(x)
        x = self.middle(x, unet.mid_block)
        for block in unet.up_blocks:
            for i in range(len(block.resnets)):
                x = self.layer(g.concat(x, skips.pop(), axis=1), block, i)
            for sampler in block.upsamplers or ():
                x = upsample(ops, x, sampler, like=skips[-1])
        if unet.conv_norm_out is None:
            x = conv(ops, x, unet.conv_out)
        else:
            x = norm_silu_conv(ops, x, unet.conv_norm_out, unet.conv_out)
        shape = g.concat(self.batch, self.frames, g.ints(config.out_channels), image, axis=0)
        x = g.transpose(g.op("Reshape", x, shape), 0, 2, 1, 3, 4)
        g.output("prediction", x, "float32", ["batch", config.out_channels, *sizes])

    def _project_time(self, timestep: str) -> None:
        """Embeds the time step and projects it for every resnet in one product, with conv1's bias added."""
        g, ops, unet = self.g, self.ops, self.unet
        half = unet.time_proj.num_channels // 2
        exponents = torch.arange(half, dtype=torch.float32) * (-math.log(10000.0))
        frequencies = torch.exp(exponents / (half - unet.time_proj.downscale_freq_shift))
        # Angles up to 1,000 need float32 in every graph.
        angles = g.op("Mul", timestep, g.weight(frequencies[None], float32=True))  # [1, half]
        parts = [g.downcast(g.op("Sin", angles)), g.downcast(g.op("Cos", angles))]
        if unet.time_proj.flip_sin_to_cos:
            parts.reverse()
        embedding = unet.time_embedding
        t = ops.silu(ops.linear(g.concat(*parts, axis=1), embedding.linear_1))
        t = ops.silu(ops.linear(t, embedding.linear_2))  # every resnet starts with this activation
        resnets = [m for m in unet.modules() if type(m).__name__ == "ResnetBlock2D"]
        weight = torch.cat([m.time_emb_proj.weight for m in resnets]).t()
        bias = torch.cat([m.time_emb_proj.bias.float() + m.conv1.bias.float() for m in resnets])
        projected = g.reshape(ops.matmul(t, weight, bias), 1, -1, 1, 1)
        lengths = [m.out_channels for m in resnets]
        names = g.op("Split", projected, g.ints(*lengths), outputs=len(resnets), axis=1)
        self.time = dict(zip(map(id, resnets), names, strict=True))

    def layer(self, x: str, block: Any, index: int) -> str:
        """Resnet, temporal convolution and, where the block has them, spatial and temporal attention."""
        x = resnet(self.ops, x, block.resnets[index], self.time[id(block.resnets[index])])
        x = self.temporal_conv(x, block.temp_convs[index])
        if getattr(block, "attentions", None):
            x = self.spatial_transformer(x, block.attentions[index])
            x = self.temporal_transformer(x, block.temp_attentions[index])
        return x

    def middle(self, x: str, block: Any) -> str:
        x = resnet(self.ops, x, block.resnets[0], self.time[id(block.resnets[0])])
        x = self.temporal_conv(x, block.temp_convs[0])
        for i, (spatial, temporal) in enumerate(zip(block.attentions, block.temp_attentions, strict=True), 1):
            x = self.temporal_transformer(self.spatial_transformer(x, spatial), temporal)
            x = resnet(self.ops, x, block.resnets[i], self.time[id(block.resnets[i])])
            x = self.temporal_conv(x, block.temp_convs[i])
        return x

    def _time_major(self, x: str, channels: int) -> str:
        """[B*F, C, h, w] -> [B, C, F, h*w]."""
        g = self.g
        shape = g.concat(self.batch, self.frames, g.ints(channels, -1), axis=0)
        return g.transpose(g.op("Reshape", x, shape), 0, 2, 1, 3)

    def temporal_conv(self, x: str, block: Any) -> str:
        """A TemporalConvLayer: four (3, 1, 1) convolutions, here (3, 1) over [B, C, F, h*w]."""
        g, ops = self.g, self.ops
        channels = block.in_dim
        h = start = self._time_major(x, channels)
        for stage in (block.conv1, block.conv2, block.conv3, block.conv4):
            norm, kernel = stage[0], stage[-1]
            weight = kernel.weight.flatten(3)
            h = norm_silu_convolution(ops, h, norm, weight, kernel.bias, pads=(1, 0, 1, 0), int8=True)
        h = g.transpose(g.op("Add", start, h), 0, 2, 1, 3)
        return g.op("Reshape", h, g.op("Shape", x))

    def spatial_transformer(self, x: str, model: Any) -> str:
        """A Transformer2DModel: attention within each frame, and to the text."""
        g, ops = self.g, self.ops
        h = group_norm(ops, x, model.norm, affine=False)
        h = g.transpose(g.reshape(h, 0, model.in_channels, -1), 0, 2, 1)  # [B*F, h*w, C]
        h = ops.matmul(h, *fold_group_norm(model.norm, model.proj_in), int8=Int8.PER_TOKEN)
        for block in model.transformer_blocks:
            h = self.transformer_block(h, block, cross=True)
        h = channel_matmul(ops, h, model.proj_out)
        return g.op("Add", g.op("Reshape", g.transpose(h, 0, 2, 1), g.op("Shape", x)), x)

    def temporal_transformer(self, x: str, model: Any) -> str:
        """A TransformerTemporalModel: attention of each position over the frames."""
        g, ops = self.g, self.ops
        channels = model.in_channels
        h = group_norm(ops, self._time_major(x, channels), model.norm, affine=False)
        h = g.transpose(h, 0, 3, 2, 1)  # [B, h*w, F, C]
        shape = g.op("Shape", h)
        h = g.op("Reshape", h, g.concat(g.ints(-1), self.frames, g.ints(channels), axis=0))
        h = ops.matmul(h, *fold_group_norm(model.norm, model.proj_in), int8=Int8.PER_TOKEN)
        for block in model.transformer_blocks:
            h = self.transformer_block(h, block, cross=False)
        h = g.op("Reshape", channel_matmul(ops, h, model.proj_out), shape)
        h = g.op("Reshape", g.transpose(h, 0, 2, 3, 1), g.op("Shape", x))
        return g.op("Add", h, x)

    def transformer_block(self, x: str, block: Any, cross: bool) -> str:
        """A BasicTransformerBlock on x [N, S, d]; with `cross` its second attention reads the text."""
        g, ops = self.g, self.ops
        if block.norm_type != "layer_norm" or block.only_cross_attention or block.pos_embed is not None:
            raise ExportError("t2v/unet: a transformer block of an unsupported kind")
        n = ops.layer_norm(x, block.norm1)
        a = self._self_attention(n, block.attn1)
        n, x = ops.skip_layer_norm(a, x, block.norm2, block.attn1.to_out[0].bias)
        a = self._text_attention(n, block.attn2) if cross else self._self_attention(n, block.attn2)
        n, x = ops.skip_layer_norm(a, x, block.norm3, block.attn2.to_out[0].bias)
        geglu, out = block.ff.net[0], block.ff.net[2]
        if type(geglu).__name__ != "GEGLU":
            raise ExportError("t2v/unet: a feed-forward layer of an unsupported kind")
        value, gate = geglu.proj.weight.chunk(2)
        value_bias, gate_bias = geglu.proj.bias.chunk(2)
        gate = ops.gelu(ops.matmul(n, gate.t(), int8=Int8.PER_TOKEN), gate_bias)
        h = g.op("Mul", ops.matmul(n, value.t(), value_bias, int8=Int8.PER_TOKEN), gate)
        h = ops.linear(h, out, int8=Int8.PER_TOKEN)
        return g.op("Add", h, x)

    def _self_attention(self, n: str, block: Any) -> str:
        weight, bias = fused_qkv(block.to_q, block.to_k, block.to_v)
        a = self.ops.self_attention(n, weight, bias, block.heads, int8=Int8.PER_TOKEN)
        return self.ops.linear(a, block.to_out[0], bias=False, int8=Int8.PER_TOKEN)

    def _text_attention(self, n: str, block: Any) -> str:
        """All frames of a batch entry read the same text: their queries stand in one row."""
        g, ops = self.g, self.ops
        q = ops.linear(n, block.to_q, int8=Int8.PER_TOKEN)
        shape = g.op("Shape", q)
        q = g.op("Reshape", q, g.concat(self.batch, g.ints(-1, block.inner_dim), axis=0))
        k, v = ops.linear(self.text, block.to_k), ops.linear(self.text, block.to_v)
        a = ops.attention(q, k, v, block.heads, block.inner_dim)
        a = g.op("Reshape", a, shape)
        return ops.linear(a, block.to_out[0], bias=False, int8=Int8.PER_TOKEN)
