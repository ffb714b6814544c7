"""Graphs of standard ONNX operators alone, for engines that know no others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from g4v.export.graph.lowering import Int8, Lowering
from g4v.export.graph.writer import Array


@dataclass(frozen=True)
class StandardLowering(Lowering):
    """Standard ONNX operators in float32, float16 or bfloat16; norms are always computed in float32."""

    def skip_layer_norm(
        self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array | None = None
    ) -> tuple[str, str]:
        g, upcast = self.g, self.g.is_upcast(skip)
        if upcast:
            x = g.upcast(x)
        if bias is not None:
            x = g.op("Add", x, g.weight(bias, float32=upcast))
        total = g.op("Add", x, skip)
        return self.layer_norm(total, norm), total

    def quick_gelu(self, x: str, alpha: float = 1.702) -> str:
        g = self.g
        scaled = x if alpha == 1 else g.op("Mul", x, g.weight(torch.tensor(alpha)))
        return g.op("Mul", x, g.op("Sigmoid", scaled))

    def gelu(self, x: str, bias: Array) -> str:
        return self.g.op("Gelu", self.g.op("Add", x, self.g.weight(bias)))

    def attention(self, q: str, k: str, v: str, heads: int, width: int) -> str:
        return self._masked_attention(q, k, v, heads, width, None)

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
        fused = self.matmul(x, weight, bias)
        q, k, v = self.g.op("Split", fused, outputs=3, axis=-1, num_outputs=3)
        mask = self._causal_mask(x) if causal else None
        return self._masked_attention(q, k, v, heads, weight.shape[1] // 3, mask)

    def _masked_attention(self, q: str, k: str, v: str, heads: int, width: int, mask: str | None) -> str:
        """softmax(q k^T / sqrt(width / heads) + mask) v, head by head."""
        g, size = self.g, width // heads
        # Scaled before the product, which might overflow in half precision.
        q = g.op("Mul", q, g.weight(torch.tensor(size**-0.5)))
        q, k, v = (g.transpose(g.reshape(part, 0, 0, heads, size), 0, 2, 1, 3) for part in (q, k, v))
        scores = g.op("MatMul", q, g.transpose(k, 0, 1, 3, 2))
        if mask is not None:
            scores = g.op("Add", scores, mask)
        mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), v)
        return g.reshape(g.transpose(mixed, 0, 2, 1, 3), 0, 0, width)

    def _causal_mask(self, x: str) -> str:
        """What is added to the scores of x [B, S, d]: 0, and far less for later positions: [S, S]."""
        g = self.g
        length = g.dimension(x, 1)
        low = g.weight(torch.tensor([[-3e4]]))  # float16 holds it
        square = g.op("Expand", low, g.concat(length, length, axis=0))
        return g.op("Trilu", square, g.weight(np.array(1, np.int64)), upper=1)
