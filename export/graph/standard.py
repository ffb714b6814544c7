"""Graphs of standard ONNX operators alone, for engines that know no others, in float32 or float16.

The builders of the components ask for what ONNX Runtime has fused operators for; here that is spelled out.
"""

from __future__ import annotations

import numpy as np
import torch

from g4v.export.graph.half import Half
from g4v.export.graph.writer import Array, Graph


class StandardGraph(Graph):
    """Values and weights are float32."""

    keeps_frames = False  # an engine's input would travel to the device each time
    tiles = False

    def quick_gelu(self, x: str, alpha: float = 1.702) -> str:
        scaled = x if alpha == 1 else self.op("Mul", x, self.weight(torch.tensor(alpha)))
        return self.op("Mul", x, self.op("Sigmoid", scaled))

    def gelu(self, x: str, bias: Array) -> str:
        return self.op("Gelu", self.op("Add", x, self.weight(bias)))

    def skip_layer_norm(
        self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array | None = None
    ) -> tuple[str, str]:
        if bias is not None:
            x = self.op("Add", x, self.weight(bias))
        total = self.op("Add", x, skip)
        return self.layer_norm(total, norm), total

    def residual_norm(self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array) -> tuple[str, str]:
        return self.skip_layer_norm(x, skip, norm, bias)

    def gated_norm(
        self, x: str, gate: torch.nn.Linear, through: torch.nn.Linear, norm: torch.nn.LayerNorm
    ) -> str:
        return self.gated_norm_by_parts(x, gate, through, norm)

    def self_attention(self, x: str, weight: Array, bias: Array, heads: int, causal: bool = False) -> str:
        fused = self.matmul(x, weight, bias)
        q, k, v = self.op("Split", fused, outputs=3, axis=-1, num_outputs=3)
        return self.attention(q, k, v, heads, weight.shape[1] // 3, self._future(x) if causal else "")

    def attention(self, q: str, k: str, v: str, heads: int, width: int, mask: str = "") -> str:
        size = width // heads
        # Scaled before the product, which might overflow in half precision.
        q = self.op("Mul", q, self.weight(torch.tensor(size**-0.5)))
        q, k, v = (self.transpose(self.reshape(part, 0, 0, heads, size), 0, 2, 1, 3) for part in (q, k, v))
        scores = self.op("MatMul", q, self.transpose(k, 0, 1, 3, 2))
        if mask:
            scores = self.op("Add", scores, mask)
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), v)
        return self.reshape(self.transpose(mixed, 0, 2, 1, 3), 0, 0, width)

    def memory_attention(self, queries: str, memory: str, heads: int, width: int, layer: int) -> str:
        return self.memory_attention_by_parts(queries, memory, heads, width, layer)

    def _future(self, x: str) -> str:
        """What is added to the scores of x [B, S, d]: 0, and far less for later positions: [S, S]."""
        length = self.dimension(x, 1)
        low = self.weight(torch.tensor([[-3e4]]))  # float16 holds it
        square = self.op("Expand", low, self.concat(length, length, axis=0))
        return self.op("Trilu", square, self.weight(np.array(1, np.int64)), upper=1)


class HalfGraph(Half, StandardGraph):
    """Values and weights are float16, inputs and outputs float32; norms are computed in float32."""
