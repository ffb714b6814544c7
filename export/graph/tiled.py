"""Graphs all of whose products are g4v's own, on processors with AMX (csrc/kernels/tiled_product.h).

For components whose every product has many rows, as the encoder's: 257 a frame. A value of float32 is taken
as the sum of three of bfloat16, which is as exact, or of two: 16 of its 24 bits are kept, and sums are those
of float32; PyTorch knows that as float32_matmul_precision("high"). On other processors the same graphs
compute in float32.
"""

from __future__ import annotations

import torch

from g4v.export.graph.writer import Array, Graph


class TiledGraph(Graph):
    def matmul(self, x: str, weight: Array, bias: Array | None = None) -> str:
        return self.tiled_matmul(x, weight, bias)

    def self_attention(self, x: str, weight: Array, bias: Array, heads: int, causal: bool = False) -> str:
        weights = torch.as_tensor(weight).chunk(3, 1)
        if weights[0].numel() < self.fewest_tiled:
            return super().self_attention(x, weight, bias, heads, causal)
        # The operator that makes queries, keys and values itself makes them by ONNX Runtime's product.
        return self.biased_attention([self.matmul(x, part) for part in weights], bias, heads, causal)


class TwoPieceGraph(TiledGraph):
    pieces = 2
