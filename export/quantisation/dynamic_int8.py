"""Graphs whose large products are of 8-bit integers, weights and activations.

Weights are rounded column by column when the graph is written, activations when it runs, in one of two ways:

`rounded_matmul` takes one scale for all of an input. It is the fastest, and good for inputs that are spread
evenly. What has a few large values among many small ones, such as the inside of a gated MLP, keeps float32:
rounded so it would lose most of its digits (measured on the abstractor at full size with random weights: 6e-2
with its MLPs rounded, 6e-4 without).

`rounded_linear` takes a scale for each row of an input, so that a token with large values costs the others
nothing. It is for transformers, where such tokens are usual.

The builders say which products may be rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from g4v.export.graph.writer import MICROSOFT, Array, Graph, numpy32

# Products of unsigned by signed bytes are added in pairs to 16 bits on processors without VNNI. The largest
# code, and the largest sum of two of four neighbouring codes before they are rounded: 255 * 128 does not
# overflow.
_LARGEST = 127
_NEIGHBOURS = 4
PRODUCT = "MatMulIntegerToFloat"  # of `rounded_linear` and of convolutions
_MIDDLE = 128  # the code of zero in a row's activations, whose largest magnitude is 127 steps from it
_SMALLEST = 1e-12  # of a row's largest magnitude: rows of zeros, too, have a scale


class EightBitGraph(Graph):
    """Runs on the CPU, through ONNX Runtime's integer products."""

    def __init__(self, folder: str | Path, stem: str) -> None:
        super().__init__(folder, stem)
        self._rows: dict[str, tuple[str, str]] = {}  # value -> codes and scales of its rows

    def rounded_matmul(self, x: str, weight: Array, bias: Array | None = None) -> str:
        codes, scales = round_columns(numpy32(weight))
        inputs = [x, self.weight(codes), self.weight(scales), ""]
        if bias is not None:
            inputs.append(self.weight(bias))
        return self.op("DynamicQuantizeMatMul", *inputs, domain=MICROSOFT)

    def rounded_rows(self, x: str, weight: Array, bias: Array | None = None) -> str:
        y = self._product(x, weight)
        return y if bias is None else self.op("Add", y, self.weight(bias))

    def skip_layer_norm(
        self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array | None = None
    ) -> tuple[str, str]:
        return self.residual_norm(x, skip, norm, torch.zeros(norm.normalized_shape) if bias is None else bias)

    def rounded_attention(self, x: str, weight: Array, bias: Array, heads: int, causal: bool = False) -> str:
        # Queries, keys and values as products of their own are what the attention takes: one product would
        # have to be split. It adds the biases.
        parts = [self._product(x, part) for part in torch.as_tensor(weight).chunk(3, 1)]
        return self.biased_attention(parts, bias, heads, causal)

    def rounded_convolution(self, x: str, weight: Array, bias: Array | None, pads: Sequence[int]) -> str:
        # ONNX Runtime's ConvInteger is slower than Conv in float32, and its QLinearConv rounds what comes
        # out. So the neighbours of each place are laid side by side, and multiplied as a matrix.
        outputs, channels, high, wide = weight.shape
        codes, scale, zero = self.op("DynamicQuantizeLinear", x, outputs=3)
        padding = self.ints(0, pads[0], pads[1], 0, 0, pads[2], pads[3], 0)
        padded = self.op("Pad", self.transpose(codes, 0, 2, 3, 1), padding, zero)
        size = self.op("Shape", x, start=2, end=4)
        spans = []
        for row in range(high):
            for column in range(wide):
                start = self.ints(row, column)
                spans.append(self.op("Slice", padded, start, self.op("Add", start, size), self.ints(1, 2)))
        matrix = torch.as_tensor(weight).permute(2, 3, 1, 0).reshape(-1, outputs)
        rounded, columns = round_columns(numpy32(matrix))
        inputs = [self.concat(*spans, axis=3), self.weight(rounded), scale, self.weight(columns), zero]
        if bias is not None:
            inputs += ["", self.weight(bias)]
        y = self.op(PRODUCT, *inputs, domain=MICROSOFT)
        return self.transpose(y, 0, 3, 1, 2)

    def _nodes_of_known_shapes(self) -> list[onnx.NodeProto]:
        nodes = []
        for node in self.nodes:
            if node.op_type == PRODUCT:
                whole = f"{node.output[0]}.int32"
                nodes.append(helper.make_node("MatMulInteger16", node.input[:2], [whole], domain=MICROSOFT))
                node = helper.make_node("Cast", [whole], node.output, to=TensorProto.FLOAT)
            elif node.op_type in ("ReduceMax", "ReduceMin"):
                node = helper.make_node("ReduceSum", node.input, node.output, keepdims=1)
            elif node.op_type == "SkipNorm":
                nodes.append(helper.make_node("Add", node.input[:2], node.output[1:]))
                node = helper.make_node("Identity", node.output[1:], node.output[:1])
            elif node.op_type == "Max":
                node = helper.make_node("Add", node.input[:2], node.output)
            nodes.append(node)
        return nodes

    def _product(self, x: str, weight: Array) -> str:
        """x @ weight for x of any rank: integers times the scales of x's rows and of the weight's columns."""
        rows, scales = self._rounded_rows(x, weight.shape[0])
        codes, columns = round_columns(numpy32(weight))
        one, middle = self.weight(np.array(1.0, np.float32)), self.weight(np.array(_MIDDLE, np.uint8))
        inputs = [rows, self.weight(codes), one, self.weight(columns), middle]
        y = self.op(PRODUCT, *inputs, domain=MICROSOFT)
        return self.op("Mul", y, scales)

    def _rounded_rows(self, x: str, width: int) -> tuple[str, str]:
        """Codes uint8 of x's shape, and scales float32 [..., 1]."""
        if x not in self._rows:
            last = self.ints(-1)
            largest = self.op("ReduceMax", x, last, keepdims=1)
            lowest = self.op("Neg", self.op("ReduceMin", x, last, keepdims=1))
            smallest = self.weight(np.array(_SMALLEST, np.float32))
            largest = self.op("Max", largest, lowest, smallest)
            scales = self.op("Mul", largest, self.weight(np.array(1 / (_MIDDLE - 1), np.float32)))
            # One scale for each row is what the operator takes of matrices alone.
            flat = self.op("Reshape", scales, last)
            zeros = self.op(
                "ConstantOfShape", self.op("Shape", flat), value=_scalar(TensorProto.UINT8, _MIDDLE)
            )
            codes = self.op("QuantizeLinear", self.reshape(x, -1, width), flat, zeros, axis=0)
            self._rows[x] = self.op("Reshape", codes, self.op("Shape", x)), scales
        return self._rows[x]


def _scalar(kind: int, value: int) -> TensorProto:
    return TensorProto(data_type=kind, dims=[1], int32_data=[value])


def round_columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
