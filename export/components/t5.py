"""The graph of T5's and UMT5's encoder (Raffel et al., arXiv 1910.10683; UMT5: arXiv 2304.09151).

    input_ids int64 [B, L], attention_mask int64 [B, L] (1, and 0 for padding; where it is asked for)
        -> hidden_states [B, L, D]

Of each layer x + o(softmax(q k^T + bias) v), then x + wo(gelu(wi_0) * wi_1), or x + wo(relu(wi)), each behind
an RMSNorm. The bias depends on the distance of two tokens: its values are gathered for all distances when the
graph is written, so that the graph has no logarithm. In graphs of 16 bits the sums x are float32: those of
T5 leave float16 within a few layers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g4v.export.checkpoint.mapped import give_back
from g4v.export.components.transformer import int8_of_layer
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Int8, Lowering

# What is added to the scores of padding. float16 holds it, and exp(-3e4) is zero in every type.
_HIDDEN = -3e4


def export_t5(
    model: Any,
    folder: str | Path,
    length: int,
    masked: bool,
    stem: str = "text_encoder",
    lowering: Lowering = CPU,
) -> list[str]:
    """Writes the graph of a T5EncoderModel or UMT5EncoderModel into `folder`; returns the names of its files.

    length: of a text at most. masked: whether the graph has the input attention_mask.
    """
    with lowering.open(folder, stem) as ops, torch.no_grad():
        _Builder(ops, model.encoder, length).build(masked)
        ops.g.save()
        return ops.g.files


def distance_bias(attention: Any, length: int) -> Tensor:
    """What is added to the scores of two tokens by their distance: float32 [H, 2*length - 1], for the
    distances 1 - length .. length - 1 of the key from the query.

    Half of the buckets are for keys behind the query. Half of each half are for one distance each, the others
    for distances up to relative_attention_max_distance, with bounds that grow like powers; the last one is
    for all that are farther, too.
    """
    distances = torch.arange(1 - length, length)
    half = attention.relative_attention_num_buckets // 2
    exact = half // 2
    size = distances.abs()
    # In float32, as T5 has it: the rounding of the logarithms decides the buckets of some distances.
    grown = torch.log(size.clamp(min=1).float() / exact)
    grown = grown / math.log(attention.relative_attention_max_distance / exact) * (half - exact)
    buckets = torch.where(size < exact, size, (exact + grown.long()).clamp(max=half - 1))
    buckets = buckets + (distances > 0) * half
    return attention.relative_attention_bias.weight.float()[buckets].t()


class _Builder:
    def __init__(self, ops: Lowering, encoder: Any, length: int) -> None:
        self.ops, self.g, self.encoder, self.length = ops, ops.g, encoder, length
        config = encoder.config
        self.heads, self.width = config.num_heads, config.num_heads * config.d_kv

    def build(self, masked: bool) -> None:
        g, config = self.g, self.encoder.config
        ids = g.input("input_ids", "int64", ["batch", "length"])
        self.mask = self._mask(g.input("attention_mask", "int64", ["batch", "length"])) if masked else None
        self.places = self._places(ids)
        x = g.upcast(g.gathered(self.encoder.embed_tokens.weight, ids))
        give_back(self.encoder)
        bias = ""
        for index, block in enumerate(self.encoder.block):
            attention, feed_forward = block.layer[0], block.layer[1]
            if attention.SelfAttention.has_relative_attention_bias:
                bias = self._bias(attention.SelfAttention)
            int8 = int8_of_layer(index)
            x = self._add(x, self._attention(self._norm(x, attention.layer_norm), attention, bias, int8))
            x = self._add(x, self._feed_forward(self._norm(x, feed_forward.layer_norm), feed_forward, int8))
            give_back(block)
        x = self._norm(x, self.encoder.final_layer_norm)
        g.output("hidden_states", x, "float32", ["batch", "length", config.d_model])

    def _norm(self, x: str, norm: Any) -> str:
        return self.ops.rms_norm(x, norm.weight, norm.variance_epsilon)

    def _add(self, x: str, y: str) -> str:
        made: str = self.g.op("Add", x, self.g.upcast(y))
        return made

    def _mask(self, mask: str) -> str:
        """[B, 1, 1, L]: what is added to the scores of each key."""
        g = self.g
        hidden = g.downcast(g.op("Cast", g.op("Sub", g.ints(1), mask), to=1))
        return g.op("Mul", g.reshape(hidden, 0, 1, 1, -1), g.weight(torch.tensor(_HIDDEN)))

    def _places(self, ids: str) -> str:
        """int64 [L, L]: where the distance of a key (column) from a query (row) stands among all."""
        g = self.g
        tokens = np.arange(self.length, dtype=np.int64)
        square = g.weight(tokens[None, :] - tokens[:, None] + self.length - 1)
        used = g.dimension(ids, 1)
        return g.op("Slice", square, g.ints(0, 0), g.concat(used, used, axis=0), g.ints(0, 1))

    def _bias(self, attention: Any) -> str:
        """[1 or B, H, L, L]."""
        g = self.g
        table = g.weight(distance_bias(attention, self.length)[None])
        bias = g.op("Gather", table, self.places, axis=2)
        return bias if self.mask is None else g.op("Add", bias, self.mask)

    def _attention(self, n: str, layer: Any, bias: str, int8: Int8 | None) -> str:
        ops, attention = self.ops, layer.SelfAttention
        weight = torch.cat([attention.q.weight, attention.k.weight, attention.v.weight]).t()
        qkv = ops.matmul(n, weight, int8=int8)
        q, k, v = self.g.op("Split", qkv, outputs=3, axis=-1, num_outputs=3)
        mixed = ops.biased_attention(q, k, v, bias, self.heads, self.width)
        return ops.linear(mixed, attention.o, int8=int8)

    def _feed_forward(self, n: str, layer: Any, int8: Int8 | None) -> str:
        ops, g, dense = self.ops, self.g, layer.DenseReluDense
        if not self.encoder.config.is_gated_act:
            return ops.linear(g.op("Relu", ops.linear(n, dense.wi, int8=int8)), dense.wo, int8=int8)
        both = ops.matmul(n, torch.cat([dense.wi_0.weight, dense.wi_1.weight]).t(), int8=int8)
        gate, through = g.op("Split", both, outputs=2, axis=-1, num_outputs=2)
        h = g.op("Mul", g.op("Gelu", gate, approximate="tanh"), through)
        return ops.linear(h, dense.wo, int8=int8)
