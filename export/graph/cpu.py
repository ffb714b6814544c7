"""Graphs for ONNX Runtime's CPU provider: its fused operators, and g4v's own (csrc/ort/custom_ops.h)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch

from g4v.export.graph.dtype import FLOAT32, DType
from g4v.export.graph.fused import FusedLowering
from g4v.export.graph.lowering import Int8
from g4v.export.graph.operators import OWN, SPLIT_GEMM
from g4v.export.graph.writer import Array, GraphWriter

KERNEL_HEAD_SIZES = (32, 64, 80, 96, 128)  # as in csrc/kernels/cross_attention.h
SMALLEST_SPLIT = 1 << 18  # weights of a matrix below which ONNX Runtime's product is as fast as a split GEMM


@dataclass(frozen=True)
class SplitGemm:
    """Products of float32 matrices by g4v's own operator, as sums of bfloat16 products. It is faster on
    processors with AMX (csrc/kernels/cpu/gemm/gemm_amx.h); on others it computes in float32.

    pieces: how many bfloat16 numbers stand for a float32 number. 3 (bf16x3) are as exact as float32. 2
    (bf16x2) keep 16 of its 24 bits, with sums in float32; PyTorch knows that as
    float32_matmul_precision("high").

    everywhere: all products, and not only those that a builder says have many rows.
    """

    pieces: int = 3
    everywhere: bool = False

    def takes(self, weight: Array, many_rows: bool) -> bool:
        """Whether it multiplies with `weight` [in, out]."""
        return (self.everywhere or many_rows) and weight.shape[0] * weight.shape[1] >= SMALLEST_SPLIT


class Int8Products(Protocol):
    """Products of 8-bit integers (g4v.export.quantisation.dynamic_int8.DynamicInt8); arguments as in
    `Lowering`.
    """

    def matmul(self, g: GraphWriter, x: str, weight: Array, bias: Array | None, int8: Int8) -> str: ...

    def convolution(
        self, g: GraphWriter, x: str, weight: Array, bias: Array | None, pads: Sequence[int]
    ) -> str: ...


@dataclass(frozen=True)
class CpuLowering(FusedLowering):
    """Values are float32.

    split_gemm: which products are split into products of bfloat16.
    int8: how products are quantised that a builder allows it for; None leaves them in float32.
    """

    dtype: DType = field(default=FLOAT32, init=False)
    split_gemm: SplitGemm = SplitGemm()
    int8: Int8Products | None = None

    caches_frames: ClassVar[bool] = True

    def matmul(
        self,
        x: str,
        weight: Array,
        bias: Array | None = None,
        *,
        int8: Int8 | None = None,
        many_rows: bool = False,
    ) -> str:
        if int8 is not None and self.int8 is not None:
            return self.int8.matmul(self.g, x, weight, bias, int8)
        if not self.split_gemm.takes(weight, many_rows):
            return super().matmul(x, weight, bias)
        pieces = self.split_gemm.pieces
        y = self.g.op(SPLIT_GEMM, x, self.g.weight(weight), domain=OWN, pieces=pieces)
        return self._add_bias(y, bias)

    def convolution(
        self,
        x: str,
        weight: Array,
        bias: Array | None = None,
        *,
        strides: Sequence[int] = (1, 1),
        pads: Sequence[int] | None = None,
        int8: bool = False,
    ) -> str:
        if int8 and self.int8 is not None:
            return self.int8.convolution(self.g, x, weight, bias, pads or (0, 0, 0, 0))
        return super().convolution(x, weight, bias, strides=strides, pads=pads)

    def skip_layer_norm(
        self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array | None = None
    ) -> tuple[str, str]:
        if self.int8 is None:
            return super().skip_layer_norm(x, skip, norm, bias)
        return self.residual_norm(x, skip, norm, torch.zeros(norm.normalized_shape) if bias is None else bias)

    def residual_norm(self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array) -> tuple[str, str]:
        # Several times faster than ONNX Runtime's operator.
        inputs = [x, skip, *(self.g.weight(weight) for weight in (norm.weight, norm.bias, bias))]
        name = self.g.new_name("SkipNorm")
        outputs = [f"{name}.norm", f"{name}.sum"]
        self.g.op("SkipNorm", *inputs, outputs=outputs, domain=OWN, epsilon=norm.eps)
        return outputs[0], outputs[1]

    def gated_norm(
        self, x: str, gate: torch.nn.Linear, through: torch.nn.Linear, norm: torch.nn.LayerNorm
    ) -> str:
        # One product, and one pass over what comes out of it.
        h = self.matmul(x, torch.cat([gate.weight, through.weight]).t(), many_rows=True)
        weights = [norm.weight, norm.bias, torch.cat([gate.bias, through.bias])]
        return self.g.op("GatedNorm", h, *map(self.g.weight, weights), domain=OWN, epsilon=norm.eps)

    def memory_attention(self, queries: str, memory: str, heads: int, width: int, layer: int) -> str:
        if width // heads not in KERNEL_HEAD_SIZES:
            return super().memory_attention(queries, memory, heads, width, layer)
        # Queries, keys and values are read in place: no Split, and no Concat.
        columns = {"key_column": 2 * layer * width, "value_column": (2 * layer + 1) * width}
        return self.g.op("CrossAttention", queries, memory, domain=OWN, num_heads=heads, **columns)

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
        parts = torch.as_tensor(weight).chunk(3, 1)
        quantised = int8 is not None and self.int8 is not None
        if not quantised and not self.split_gemm.takes(parts[0], many_rows=False):
            return super().self_attention(x, weight, bias, heads, causal)
        # The fused operator would make queries, keys and values itself, by ONNX Runtime's float32 product.
        # Three products are what its sibling takes: one would have to be split.
        products = [self.matmul(x, part, int8=int8) for part in parts]
        return self._projected_attention(products, bias, heads, causal)


CPU = CpuLowering()
