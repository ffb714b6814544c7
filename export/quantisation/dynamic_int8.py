"""Dynamic int8: products of 8-bit integers, of weights and activations, on the CPU.

Weights are quantised column by column when the graph is written, activations when it runs, in one of two
ways, which the builders choose for each product (g4v.export.graph.lowering.Int8):

Per tensor, one scale for all of an input. It is the fastest, and good for inputs that are spread evenly. What
has a few large values among many small ones, such as the inside of a gated MLP, keeps float32: quantised so
it would lose most of its digits (measured on the abstractor at full size with random weights: 6e-2 with its
MLPs quantised, 6e-4 without).

Per token, a scale for each row of an input, so that a token with large values costs the others nothing. It is
for transformers, where such tokens are usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import TensorProto

from g4v.export.graph.lowering import Int8
from g4v.export.graph.operators import INT8_MATMUL, MICROSOFT
from g4v.export.graph.writer import Array, GraphWriter, numpy32

# Products of unsigned by signed bytes are added in pairs to 16 bits on processors without VNNI. The largest
# code, and the largest sum of two of four neighbouring codes before they are rounded: 255 * 128 does not
# overflow.
_LARGEST = 127
_NEIGHBOURS = 4
_MIDDLE = 128  # the code of zero in a token's activations, whose largest magnitude is 127 steps from it
_SMALLEST = 1e-12  # of a token's largest magnitude: tokens of zeros, too, have a scale


@dataclass(frozen=True)
class DynamicInt8:
    """Products through ONNX Runtime's integer operators; for `g4v.export.graph.cpu.CpuLowering`."""

    def matmul(self, g: GraphWriter, x: str, weight: Array, bias: Array | None, int8: Int8) -> str:
        """x @ weight + bias, where `weight` is [in, out]."""
        if int8 is Int8.PER_TOKEN:
            y = self._per_token_matmul(g, x, weight)
            return y if bias is None else g.op("Add", y, g.weight(bias))
        codes, scales = quantise_columns(numpy32(weight))
        inputs = [x, g.weight(codes), g.weight(scales), ""]
        if bias is not None:
            inputs.append(g.weight(bias))
        made: str = g.op("DynamicQuantizeMatMul", *inputs, domain=MICROSOFT)
        return made

    def convolution(
        self, g: GraphWriter, x: str, weight: Array, bias: Array | None, pads: Sequence[int]
    ) -> str:
        """A convolution of x [B, C, H, W] with `weight` [O, C, kh, kw] and strides of 1, per tensor. pads:
        top, left, bottom, right.
        """
        # ONNX Runtime's ConvInteger is slower than Conv in float32, and its QLinearConv rounds what comes
        # out. So the neighbours of each place are laid side by side, and multiplied as a matrix (im2col).
        outputs, _, rows, columns = weight.shape
        codes, scale, zero = g.op("DynamicQuantizeLinear", x, outputs=3)
        padding = g.ints(0, pads[0], pads[1], 0, 0, pads[2], pads[3], 0)
        padded = g.op("Pad", g.transpose(codes, 0, 2, 3, 1), padding, zero)
        size = g.op("Shape", x, start=2, end=4)
        spans = []
        for row in range(rows):
            for column in range(columns):
                start = g.ints(row, column)
                spans.append(g.op("Slice", padded, start, g.op("Add", start, size), g.ints(1, 2)))
        matrix = torch.as_tensor(weight).permute(2, 3, 1, 0).reshape(-1, outputs)
        quantised, scales = quantise_columns(numpy32(matrix))
        inputs = [g.concat(*spans, axis=3), g.weight(quantised), scale, g.weight(scales), zero]
        if bias is not None:
            inputs += ["", g.weight(bias)]
        y = g.op(INT8_MATMUL, *inputs, domain=MICROSOFT)
        return g.transpose(y, 0, 3, 1, 2)

    def _per_token_matmul(self, g: GraphWriter, x: str, weight: Array) -> str:
        """x @ weight for x of any rank: integers times the scales of x's rows and of the weight's columns."""
        width = weight.shape[0]
        rows, scales = g.once(("per-token int8", x), lambda: self._quantise_tokens(g, x, width))
        codes, columns = quantise_columns(numpy32(weight))
        one, middle = g.weight(np.array(1.0, np.float32)), g.weight(np.array(_MIDDLE, np.uint8))
        inputs = [rows, g.weight(codes), one, g.weight(columns), middle]
        y = g.op(INT8_MATMUL, *inputs, domain=MICROSOFT)
        made: str = g.op("Mul", y, scales)
        return made

    def _quantise_tokens(self, g: GraphWriter, x: str, width: int) -> tuple[str, str]:
        """Codes uint8 of x's shape, and scales float32 [..., 1]. width: of x's rows."""
        last = g.ints(-1)
        largest = g.op("ReduceMax", x, last, keepdims=1)
        lowest = g.op("Neg", g.op("ReduceMin", x, last, keepdims=1))
        smallest = g.weight(np.array(_SMALLEST, np.float32))
        largest = g.op("Max", largest, lowest, smallest)
        scales = g.op("Mul", largest, g.weight(np.array(1 / (_MIDDLE - 1), np.float32)))
        # One scale for each row is what the operator takes of matrices alone.
        flat = g.op("Reshape", scales, last)
        middle = TensorProto(data_type=TensorProto.UINT8, dims=[1], int32_data=[_MIDDLE])
        zeros = g.op("ConstantOfShape", g.op("Shape", flat), value=middle)
        codes = g.op("QuantizeLinear", g.reshape(x, -1, width), flat, zeros, axis=0)
        return g.op("Reshape", codes, g.op("Shape", x)), scales


def quantise_columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weight [in, out] ~ codes * scales: codes int8 [in, out], scales float32 [out].

    A column's codes reach from -127 to 127, but two of one sign that an instruction may add up are at most
    128 together. Large neighbours of one sign are rare: the steps are about two thirds of what codes up to
    63 would have.
    """
    largest = np.abs(weight).max(axis=0)
    for shift in range(1, _NEIGHBOURS):
        for first in range(_NEIGHBOURS - shift):
            a, b = weight[first::_NEIGHBOURS], weight[first + shift :: _NEIGHBOURS]
            sums = np.abs(a[: len(b)] + b).max(axis=0, initial=0)
            largest = np.maximum(largest, sums)
    scales = np.where(largest > 0, largest / _LARGEST, 1.0).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales
