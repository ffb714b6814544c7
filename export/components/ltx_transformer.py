"""The video transformer's graph of LTX-Video (diffusers' LTXVideoTransformer3DModel).

    sample [B, C, F, h, w], timestep float32 [1], encoder_hidden_states [B, L, D],
    encoder_attention_mask int64 [B, L] (1, and 0 for padding), frame_seconds float32 [F]
        -> prediction [B, C, F, h, w]

Each place of the latents is a token. Rotary embeddings turn queries and keys by the place of a token in time,
height and width: seconds and pixels, so that they depend on the frames a second of the video. Their angles go
over the width of all heads together, so that each head has its own.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.checkpoint.mapped import give_back
from g4v.export.checkpoint.video_sizes import frame_scale, vae_scale
from g4v.export.components.component import Component
from g4v.export.components.modulation import modulation, scaled, time_embedding
from g4v.export.components.profile import ShapeProfile
from g4v.export.components.text_to_video import text_length, text_profile, video_profile
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Int8, Lowering
from g4v.export.verify.comparison import Feeds
from g4v.export.verify.ltx import verify_ltx_transformer

_MOST_PIXELS = 4096  # of height and width, in the core
_HIDDEN = -1e4  # what is added to the scores of padding


class LtxTransformer(Component):
    """One step of denoising a video."""

    name = "transformer"

    def load(self) -> Any:
        return self.checkpoint.transformer()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        return export_ltx_transformer(module, folder, self._side, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        return {
            "latent_channels": module.config.in_channels,
            "cross_attention_dim": module.config.caption_channels,
            "patch_size": [1, 1, 1],
            "attention_mask": True,
            "frame_seconds": True,
        }

    @property
    def _side(self) -> int:
        return vae_scale(self.checkpoint.parts["t2v"])

    @property
    def profile(self) -> ShapeProfile:
        return {**text_profile(self.checkpoint), **video_profile(self.checkpoint, "height", "width")}

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        scales = (frame_scale(self.checkpoint.parts["t2v"]), self._side)
        return verify_ltx_transformer(module, folder, text_length(self.checkpoint), scales, stem, feeds)


def export_ltx_transformer(
    model: Any, folder: str | Path, side: int, stem: str = "transformer", lowering: Lowering = CPU
) -> list[str]:
    """Writes the graph of an LTXVideoTransformer3DModel into `folder`; returns the names of its files.

    side: pixels of height, and of width, for one latent.
    """
    with lowering.open(folder, stem) as ops, torch.no_grad():
        _Builder(ops, model, side).build()
        ops.g.save(shapes=True)
        return ops.g.files


class _Builder:
    """Holds what the blocks share: the text and its padding, the modulation by time, the rotary tables."""

    def __init__(self, ops: Lowering, model: Any, side: int) -> None:
        self.g, self.ops, self.model, self.side = ops.g, ops, model, side
        config = model.config
        self.heads, self.size = config.num_attention_heads, config.attention_head_dim
        self.width = self.heads * self.size

    def build(self) -> None:
        g, ops, model, config = self.g, self.ops, self.model, self.model.config
        channels, sizes = config.in_channels, ["frames", "height", "width"]
        sample = g.input("sample", "float32", ["batch", channels, *sizes])
        timestep = g.input("timestep", "float32", [1], keep_float32=True)
        text = g.input("encoder_hidden_states", "float32", ["batch", "length", config.caption_channels])
        mask = g.input("encoder_attention_mask", "int64", ["batch", "length"])
        seconds = g.input("frame_seconds", "float32", ["frames"], keep_float32=True)
        counts = [g.dimension(sample, axis) for axis in (2, 3, 4)]
        self.cos, self.sin = self._rotary_tables(seconds, counts)

        x = g.transpose(g.reshape(sample, 0, channels, -1), 0, 2, 1)
        self.padding = self._padding(mask, g.dimension(x, 1))
        embedder = model.time_embed
        time = time_embedding(
            ops, timestep, embedder.emb.time_proj.num_channels, embedder.emb.timestep_embedder
        )
        self.time = g.reshape(ops.linear(ops.silu(time), embedder.linear), 1, 6, self.width)
        projection = model.caption_projection
        text = ops.tanh_gelu(ops.linear(text, projection.linear_1, bias=False), projection.linear_1.bias)
        self.text = ops.linear(text, projection.linear_2)

        x = ops.linear(x, model.proj_in)
        for block in model.transformer_blocks:
            x = self.block(x, block)
            give_back(block)
        table = model.scale_shift_table[None]
        shift, scale = modulation(ops, g.reshape(time, 1, 1, self.width), table, (1,))
        ones, zeros = torch.ones(self.width), torch.zeros(self.width)
        n = ops.norm("LayerNormalization", x, ones, zeros, axis=-1, epsilon=model.norm_out.eps)
        x = g.transpose(ops.linear(scaled(ops, n, scale, shift), model.proj_out), 0, 2, 1)
        x = g.op("Reshape", x, g.op("Shape", sample))
        g.output("prediction", x, "float32", ["batch", channels, *sizes])

    def _padding(self, mask: str, tokens: str) -> str:
        """[B, 1, S, L]: what is added to the scores of each token of the text."""
        g = self.g
        hidden = g.downcast(g.op("Cast", g.op("Sub", g.ints(1), mask), to=1))
        bias = g.reshape(g.op("Mul", hidden, g.weight(torch.tensor(_HIDDEN))), 0, 1, 1, -1)
        batch, length = (g.dimension(mask, axis) for axis in (0, 1))
        return g.op("Expand", bias, g.concat(batch, g.ints(1), tokens, length, axis=0))

    def _rotary_tables(self, seconds: str, counts: list[str]) -> tuple[str, str]:
        """Cosines and sines [S * heads, head size / 2] of the angles of every token and head.

        The angles are thousands of radians, whose rounding in float32 shows: they are computed in the order
        in which the module does it.
        """
        g, rope = self.g, self.model.rope
        count = self.width // 6
        theta = rope.theta
        exponents = torch.linspace(math.log(1.0, theta), math.log(theta, theta), count, dtype=torch.float32)
        frequencies = theta**exponents * math.pi / 2.0
        places = torch.arange(_MOST_PIXELS // self.side + 1, dtype=torch.float32) * self.side
        fixed = [
            frequencies * ((places / base)[:, None] * 2 - 1) for base in (rope.base_height, rope.base_width)
        ]
        time = g.op("Div", seconds, g.weight(torch.tensor(float(rope.base_num_frames)), float32=True))
        time = g.op("Mul", time, g.weight(torch.tensor(2.0), float32=True))
        time = g.reshape(g.op("Sub", time, g.weight(torch.tensor(1.0), float32=True)), -1, 1)
        time = g.op("Mul", time, g.weight(frequencies[None], float32=True))
        cos = self._table(g.downcast(g.op("Cos", time)), [angles.cos() for angles in fixed], counts, 1.0)
        sin = self._table(g.downcast(g.op("Sin", time)), [angles.sin() for angles in fixed], counts, 0.0)
        return cos, sin

    def _table(self, time: str, fixed: list[Tensor], counts: list[str], still: float) -> str:
        """Of each token its numbers in time, height and width, one after the other for each frequency; first
        `still` for pairs that are not turned, where 6 does not divide the width.
        """
        g, count = self.g, self.width // 6
        rows = [time]
        for axis, table in enumerate(fixed, 1):
            rows.append(g.op("Slice", g.weight(table), g.ints(0), counts[axis], g.ints(0)))
        parts = []
        for axis, values in enumerate(rows):
            # The count, and not -1, so that shapes can be inferred.
            shape = [counts[axis] if place == axis else g.ints(1) for place in range(3)]
            values = g.op("Reshape", values, g.concat(*shape, g.ints(count, 1), axis=0))
            parts.append(g.op("Expand", values, g.concat(*counts, g.ints(count, 1), axis=0)))
        whole = g.reshape(g.concat(*parts, axis=4), 0, 0, 0, 3 * count)
        unturned = self.width % 6 // 2
        if unturned:
            none = g.weight(torch.full((1, 1, 1, unturned), still))
            none = g.op("Expand", none, g.concat(*counts, g.ints(unturned), axis=0))
            whole = g.concat(none, whole, axis=3)
        return g.reshape(whole, -1, self.size // 2)

    def block(self, x: str, block: Any) -> str:
        """An LTXVideoTransformerBlock on x [B, S, width]."""
        g, ops = self.g, self.ops
        rows = modulation(ops, self.time, block.scale_shift_table[None], (1, 4))
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = rows
        a = self._self_attention(scaled(ops, self._rms_norm(x, block.norm1), scale, shift), block.attn1)
        x = g.op("Add", x, g.op("Mul", a, gate))
        x = g.op("Add", x, self._text_attention(x, block.attn2))
        n = scaled(ops, self._rms_norm(x, block.norm2), ffn_scale, ffn_shift)
        inner, out = block.ff.net[0].proj, block.ff.net[2]
        h = ops.tanh_gelu(ops.linear(n, inner, bias=False, int8=Int8.PER_TOKEN), inner.bias)
        return g.op("Add", x, g.op("Mul", ops.linear(h, out, int8=Int8.PER_TOKEN), ffn_gate))

    def _rms_norm(self, x: str, norm: Any) -> str:
        weight = torch.ones(self.width) if norm.weight is None else norm.weight
        return self.ops.rms_norm(x, weight, norm.eps)

    def _self_attention(self, n: str, block: Any) -> str:
        ops = self.ops
        q, k = (
            self._turned(self._normed(n, linear, norm))
            for linear, norm in ((block.to_q, block.norm_q), (block.to_k, block.norm_k))
        )
        v = ops.linear(n, block.to_v, int8=Int8.PER_TOKEN)
        a = ops.attention(q, k, v, self.heads, self.width)
        return ops.linear(a, block.to_out[0], int8=Int8.PER_TOKEN)

    def _turned(self, x: str) -> str:
        """Each head of each token counts as a token with one head, which has angles of its own."""
        g, size = self.g, self.size
        x = self.ops.rotary(g.reshape(x, 0, -1, size), self.cos, self.sin, 1, size)
        return g.reshape(x, 0, -1, self.width)

    def _text_attention(self, x: str, block: Any) -> str:
        ops = self.ops
        # The attention with a bias has no scale of its own.
        q = self._normed(x, block.to_q, block.norm_q, self.size**-0.5)
        k = ops.rms_norm(ops.linear(self.text, block.to_k), block.norm_k.weight, block.norm_k.eps)
        v = ops.linear(self.text, block.to_v)
        a = ops.biased_attention(q, k, v, self.padding, self.heads, self.width)
        return ops.linear(a, block.to_out[0], int8=Int8.PER_TOKEN)

    def _normed(self, n: str, linear: nn.Linear, norm: nn.RMSNorm, scale: float = 1.0) -> str:
        """A projection, and its norm over the width of all heads together, times `scale`."""
        projected = self.ops.linear(n, linear, int8=Int8.PER_TOKEN)
        return self.ops.rms_norm(projected, norm.weight * scale, float(norm.eps or 0.0))
