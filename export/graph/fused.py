"""ONNX Runtime's fused operators, which its CPU and its CUDA provider both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from g4v.export.graph.dtype import FLOAT32
from g4v.export.graph.lowering import Int8, Lowering
from g4v.export.graph.operators import MICROSOFT
from g4v.export.graph.writer import Array


@dataclass(frozen=True)
class FusedLowering(Lowering):
    """Norms with a skip, activations and attention as one operator each."""

    def skip_layer_norm(
        self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array | None = None
    ) -> tuple[str, str]:
        g, upcast = self.g, self.g.is_upcast(skip)
        if upcast:
            x = g.upcast(x)
        weights = [norm.weight, norm.bias] if bias is None else [norm.weight, norm.bias, bias]
        inputs = [x, skip, *(g.weight(weight, float32=upcast) for weight in weights)]
        name = g.new_name("SkipLayerNorm")
        normed, total = f"{name}.norm", f"{name}.sum"
        outputs = [normed, "", "", total]
        g.op("SkipLayerNormalization", *inputs, outputs=outputs, domain=MICROSOFT, epsilon=norm.eps)
        return (g.downcast(normed) if upcast else normed), total

    def rms_norm(self, x: str, weight: Array, epsilon: float) -> str:
        g = self.g
        options: dict[str, Any] = {"axis": -1, "epsilon": epsilon}
        if not self._norm_in_float32(x):
            return g.op("SimplifiedLayerNormalization", x, g.weight(weight), **options)
        x = g.op("Cast", x, to=FLOAT32.onnx)
        return g.downcast(g.op("SimplifiedLayerNormalization", x, g.weight(weight, float32=True), **options))

    def rotary(self, x: str, cos: str, sin: str, heads: int, width: int) -> str:
        options = {"interleaved": 1, "num_heads": heads}
        first = self.g.ints(0)  # the place of the first position in the tables
        return self.g.op("RotaryEmbedding", x, first, cos, sin, domain=MICROSOFT, **options)

    def quick_gelu(self, x: str, alpha: float = 1.702) -> str:
        return self.g.op("QuickGelu", x, domain=MICROSOFT, alpha=alpha)

    def gelu(self, x: str, bias: Array) -> str:
        return self.g.op("BiasGelu", x, self.g.weight(bias), domain=MICROSOFT)

    def attention(self, q: str, k: str, v: str, heads: int, width: int) -> str:
        return self.g.op("MultiHeadAttention", q, k, v, domain=MICROSOFT, num_heads=heads)

    def biased_attention(self, q: str, k: str, v: str, bias: str, heads: int, width: int) -> str:
        options: dict[str, Any] = {"num_heads": heads, "scale": 1.0}
        return self.g.op("MultiHeadAttention", q, k, v, "", "", bias, domain=MICROSOFT, **options)

    def self_attention(
        self,
        x: str,
        weight: Array,
        bias: Array,
        heads: int,
        causal: bool = False,
        *,
        int8: Int8 | None = None,
    ) -> str:
        weights = [self.g.weight(part) for part in (weight, bias)]
        options = {"num_heads": heads, "unidirectional": int(causal)}
        return self.g.op("Attention", x, *weights, domain=MICROSOFT, **options)

    def _projected_attention(self, parts: Sequence[str], bias: Array, heads: int, causal: bool) -> str:
        """Self-attention of queries, keys and values [B, S, d] without their biases [3*d]."""
        options = {"num_heads": heads, "unidirectional": int(causal)}
        return self.g.op("MultiHeadAttention", *parts, self.g.weight(bias), domain=MICROSOFT, **options)
