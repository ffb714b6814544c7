"""The video transformer's graph (diffusers' WanTransformer3DModel, as Wan 2.1 has it for text-to-video).

    sample [B, C, F, h, w], timestep float32 [1], encoder_hidden_states [B, L, D]
        -> prediction [B, C, F, h, w]

The latents are cut into patches, each of which becomes a token; S tokens attend to each other, with rotary
embeddings of their place in frame, height and width, and to the text. Against a trace of the module: all of a
batch has one time step, so what depends on it is computed once, and batch, frames, height, width and text
length are all dynamic.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.checkpoint.mapped import give_back
from g4v.export.components.component import Component
from g4v.export.components.modulation import modulation, scaled, time_embedding
from g4v.export.components.profile import ShapeProfile
from g4v.export.components.text_to_video import text_length, text_profile, video_profile
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Int8, Lowering
from g4v.export.verify.comparison import Feeds, verify_transformer


class VideoTransformer(Component):
    """One step of denoising a video."""

    name = "transformer"

    def load(self) -> Any:
        return self.checkpoint.transformer()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        return export_transformer(module, folder, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        config = module.config
        return {
            "latent_channels": config.in_channels,
            "cross_attention_dim": config.text_dim,
            "patch_size": list(config.patch_size),
            "positions": config.rope_max_seq_len,
        }

    @property
    def profile(self) -> ShapeProfile:
        return {**text_profile(self.checkpoint), **video_profile(self.checkpoint, "height", "width")}

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify_transformer(module, folder, text_length(self.checkpoint), 8, stem, feeds)


def export_transformer(
    model: Any, folder: str | Path, stem: str = "transformer", lowering: Lowering = CPU
) -> list[str]:
    """Writes the graph of a WanTransformer3DModel into `folder`; returns the names of its files."""
    with lowering.open(folder, stem) as ops, torch.no_grad():
        _Builder(ops, model).build()
        ops.g.save(shapes=True)
        return ops.g.files


class _Builder:
    """Holds what the blocks share: the text, the modulation by time, the rotary tables."""

    def __init__(self, ops: Lowering, model: Any) -> None:
        self.g, self.ops, self.model = ops.g, ops, model
        config = model.config
        self.heads = config.num_attention_heads
        self.width = config.num_attention_heads * config.attention_head_dim

    def build(self) -> None:
        g, ops, model, config = self.g, self.ops, self.model, self.model.config
        channels, sizes = config.in_channels, ["frames", "height", "width"]
        sample = g.input("sample", "float32", ["batch", channels, *sizes])
        timestep = g.input("timestep", "float32", [1], keep_float32=True)
        text = g.input("encoder_hidden_states", "float32", ["batch", "length", config.text_dim])
        batch = g.dimension(sample, 0)
        # Patches along frames, height and width.
        patch = config.patch_size
        steps = [g.ints(step) for step in patch]
        counts = [g.op("Div", g.dimension(sample, axis + 2), steps[axis]) for axis in range(3)]
        self.cos, self.sin = self._rotary_tables(counts)
        embedder = model.condition_embedder
        channels_of_time = embedder.timesteps_proj.num_channels
        time = time_embedding(ops, timestep, channels_of_time, embedder.time_embedder)
        self.time = g.reshape(ops.linear(ops.silu(time), embedder.time_proj), 1, 6, self.width)
        projection = embedder.text_embedder
        text = ops.tanh_gelu(ops.linear(text, projection.linear_1, bias=False), projection.linear_1.bias)
        self.text = ops.linear(text, projection.linear_2)

        # A convolution with strides as large as its kernel is a product over the numbers of a patch.
        interleaved = [part for pair in zip(counts, steps, strict=True) for part in pair]
        x = g.op("Reshape", sample, g.concat(batch, g.ints(channels), *interleaved, axis=0))
        x = g.transpose(x, 0, 2, 4, 6, 1, 3, 5, 7)
        x = g.op("Reshape", x, g.concat(batch, g.ints(-1, channels * math.prod(patch)), axis=0))
        x = ops.matmul(x, model.patch_embedding.weight.flatten(1).t(), model.patch_embedding.bias)
        for block in model.blocks:
            x = self.block(x, block)
            give_back(block)
        shift, scale = modulation(ops, g.reshape(time, 1, 1, self.width), model.scale_shift_table, (1,))
        x = ops.linear(self._modulated(x, model.norm_out, scale, shift), model.proj_out)

        # [B, F', h', w', p_f, p_h, p_w, C] back to the sample's order.
        outputs = config.out_channels or channels
        x = g.op("Reshape", x, g.concat(batch, *counts, *steps, g.ints(outputs), axis=0))
        x = g.transpose(x, 0, 7, 1, 4, 2, 5, 3, 6)
        shape = g.concat(batch, g.ints(outputs), g.op("Shape", sample, start=2, end=5), axis=0)
        g.output("prediction", g.op("Reshape", x, shape), "float32", ["batch", outputs, *sizes])

    def _rotary_tables(self, counts: list[str]) -> tuple[str, str]:
        """Cosines and sines [S, head size / 2] of every token: those of its frame, row and column."""
        rope = self.model.rope
        return self._rotary_table(rope.freqs_cos, counts), self._rotary_table(rope.freqs_sin, counts)

    def _rotary_table(self, table: Tensor, counts: list[str]) -> str:
        g, rope, parts = self.g, self.model.rope, []
        widths = [rope.t_dim, rope.h_dim, rope.w_dim]
        for axis, part in enumerate(table.split(widths, dim=1)):
            half = widths[axis] // 2
            # The module keeps each number twice, for the two neighbours that are turned by one angle.
            rows = g.op("Slice", g.weight(part[:, ::2].contiguous()), g.ints(0), counts[axis], g.ints(0))
            # The count, and not -1, so that shapes can be inferred.
            shape = [counts[axis] if place == axis else g.ints(1) for place in range(3)]
            rows = g.op("Reshape", rows, g.concat(*shape, g.ints(half), axis=0))
            parts.append(g.op("Expand", rows, g.concat(*counts, g.ints(half), axis=0)))
        return g.reshape(g.concat(*parts, axis=3), -1, sum(widths) // 2)

    def _modulated(self, x: str, norm: nn.LayerNorm, scale: str, shift: str) -> str:
        """A norm without weights of its own, then * scale + shift."""
        ones, zeros = torch.ones(self.width), torch.zeros(self.width)
        n = self.ops.norm("LayerNormalization", x, ones, zeros, axis=-1, epsilon=norm.eps)
        return scaled(self.ops, n, scale, shift)

    def block(self, x: str, block: Any) -> str:
        """A WanTransformerBlock on x [B, S, width]."""
        g, ops = self.g, self.ops
        rows = modulation(ops, self.time, block.scale_shift_table, (1, 4))
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = rows
        a = self._self_attention(self._modulated(x, block.norm1, scale, shift), block.attn1)
        x = g.op("Add", x, g.op("Mul", a, gate))
        n = x if isinstance(block.norm2, nn.Identity) else ops.layer_norm(x, block.norm2)
        x = g.op("Add", x, self._text_attention(n, block.attn2))
        n = self._modulated(x, block.norm3, ffn_scale, ffn_shift)
        inner, out = block.ffn.net[0].proj, block.ffn.net[2]
        h = ops.tanh_gelu(ops.linear(n, inner, bias=False, int8=Int8.PER_TOKEN), inner.bias)
        return g.op("Add", x, g.op("Mul", ops.linear(h, out, int8=Int8.PER_TOKEN), ffn_gate))

    def _self_attention(self, n: str, block: Any) -> str:
        ops = self.ops
        q, k = (
            ops.rotary(self._normed(n, linear, norm), self.cos, self.sin, self.heads, self.width)
            for linear, norm in ((block.to_q, block.norm_q), (block.to_k, block.norm_k))
        )
        v = ops.linear(n, block.to_v, int8=Int8.PER_TOKEN)
        a = ops.attention(q, k, v, self.heads, self.width)
        return ops.linear(a, block.to_out[0], int8=Int8.PER_TOKEN)

    def _text_attention(self, n: str, block: Any) -> str:
        ops = self.ops
        q = self._normed(n, block.to_q, block.norm_q)
        k = ops.rms_norm(ops.linear(self.text, block.to_k), block.norm_k.weight, block.norm_k.eps)
        a = ops.attention(q, k, ops.linear(self.text, block.to_v), self.heads, self.width)
        return ops.linear(a, block.to_out[0], int8=Int8.PER_TOKEN)

    def _normed(self, n: str, linear: nn.Linear, norm: nn.RMSNorm) -> str:
        """A projection, and its norm over the width of all heads together."""
        return self.ops.rms_norm(
            self.ops.linear(n, linear, int8=Int8.PER_TOKEN), norm.weight, float(norm.eps or 0.0)
        )
