"""Graphs whose products take a value of float32 as the sum of two of bfloat16, on processors with AMX.

csrc/kernels/tiled_product.h has the formula: 16 of 24 bits are kept, and sums are those of float32. On other
processors the same graphs compute in float32. PyTorch knows it as float32_matmul_precision("high").
"""

from __future__ import annotations

import torch
from g4v.export.graph import Array, Graph


class TwoPieceGraph(Graph):
    pieces = 2

    def matmul(self, x: str, weight: Array, bias: Array | None = None) -> str:
        return self.tiled_matmul(x, weight, bias)

    def self_attention(self, x: str, weight: Array, bias: Array, heads: int, causal: bool = False) -> str:
        # The operator that makes its own queries, keys and values would make them in float32.
        parts = [self.matmul(x, part) for part in torch.as_tensor(weight).chunk(3, 1)]
        return self.biased_attention(parts, bias, heads, causal)
