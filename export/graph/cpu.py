"""Graphs for ONNX Runtime's CPU provider: its fused operators, and g4v's own (csrc/ort/custom_ops.h)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch

from g4v.export.graph.dtype import FLOAT32, DType
from g4v.export.graph.fused import FusedLowering
from g4v.export.graph.lowering import Int8
from g4v.export.graph.operators import NORM_SILU_CONV, OWN, SPLIT_GEMM, WINOGRAD_CONV
from g4v.export.graph.writer import Array, GraphWriter

KERNEL_HEAD_SIZES = (32, 64, 80, 96, 128)  # as in csrc/kernels/cross_attention.h
# Filters (pairs of channels) of a convolution by Winograd's way: with fewer its transforms are not worth
# their time, with more its weights, which take 2 or 4 times their memory, are not.
WINOGRAD_FILTERS = range(1 << 8, 1 << 19)
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


def takes_winograd(weight: Array, strides: Sequence[int], pads: Sequence[int] | None) -> bool:
    """Whether a convolution with `weight` [O, C, kh, kw] is made by g4v's own operator."""
    shape = tuple(weight.shape)
    same = (*shape[2:], *strides, *(pads or ())) in ((3, 3, 1, 1, 1, 1, 1, 1), (3, 1, 1, 1, 1, 0, 1, 0))
    return same and shape[0] * shape[1] in WINOGRAD_FILTERS


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
        many_pixels: bool = True,
    ) -> str:
        if int8 and self.int8 is not None:
            return self.int8.convolution(self.g, x, weight, bias, pads or (0, 0, 0, 0))
        if many_pixels and takes_winograd(weight, strides, pads):
            return self.g.op(WINOGRAD_CONV, x, *self._filters(weight, bias), domain=OWN)
        if (*weight.shape[2:], *strides, *(pads or ())) in ((1, 1, 1, 1), (1, 1, 1, 1, 0, 0, 0, 0)):
            return self._pixel_product(x, weight, bias)
        return super().convolution(x, weight, bias, strides=strides, pads=pads)

    def _pixel_product(self, x: str, weight: Array, bias: Array | None) -> str:
        """A convolution of 1x1 as the product of matrices that it is: ONNX Runtime's Conv would copy x and
        its result into another order.
        """
        g = self.g
        pixels = g.reshape(x, 0, 0, -1)
        y = g.op("MatMul", g.weight(torch.as_tensor(weight).flatten(1)), pixels)
        if bias is not None:
            y = g.op("Add", y, g.weight(torch.as_tensor(bias).reshape(-1, 1)))
        batch, image = g.op("Shape", x, start=0, end=1), g.op("Shape", x, start=2, end=4)
        return g.op("Reshape", y, g.concat(batch, g.ints(weight.shape[0]), image, axis=0))

    def norm_silu_convolution(
        self,
        x: str,
        norm: torch.nn.GroupNorm,
        weight: Array,
        bias: Array | None = None,
        *,
        strides: Sequence[int] = (1, 1),
        pads: Sequence[int] | None = None,
        int8: bool = False,
        many_pixels: bool = True,
    ) -> str | None:
        quantised = int8 and self.int8 is not None
        if quantised or not many_pixels or not takes_winograd(weight, strides, pads):
            return None
        row = [self.g.weight(weight) for weight in (norm.weight, norm.bias)]
        sizes: dict[str, Any] = {"num_groups": norm.num_groups, "epsilon": norm.eps}
        inputs = [x, *row, *self._filters(weight, bias)]
        return self.g.op(NORM_SILU_CONV, *inputs, domain=OWN, **sizes)

    def _filters(self, weight: Array, bias: Array | None) -> list[str]:
        """Weight and bias of a convolution that must have one."""
        given = torch.zeros(weight.shape[0]) if bias is None else bias
        return [self.g.weight(weight), self.g.weight(given)]

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
