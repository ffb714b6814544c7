"""Graphs whose large products are of 8-bit integers, weights and activations.

Weights are rounded column by column when the graph is written, activations when it runs, with one scale
for all of an input. The builders say which products may be rounded: those whose inputs are spread evenly.
What has a few large values among many small ones, such as the inside of a gated MLP, keeps float32: rounded
with one scale it would lose most of its digits (measured on the abstractor at full size with random weights:
6e-2 with its MLPs rounded, 6e-4 without).
"""

from __future__ import annotations

import numpy as np
from g4v.export.graph import MICROSOFT, Array, Graph, numpy32

# Products of unsigned by signed bytes are added in pairs to 16 bits on processors without VNNI; with seven
# bits of weight no pair can overflow.
_LARGEST = 63


class EightBitGraph(Graph):
    """Runs on the CPU, through ONNX Runtime's integer products."""

    def rounded_matmul(self, x: str, weight: Array, bias: Array | None = None) -> str:
        codes, scales = round_columns(numpy32(weight))
        inputs = [x, self.weight(codes), self.weight(scales), ""]
        if bias is not None:
            inputs.append(self.weight(bias))
        return self.op("DynamicQuantizeMatMul", *inputs, domain=MICROSOFT)


def round_columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """weight [in, out] ~ codes * scales: codes int8 [in, out] from -63 to 63, scales float32 [out]."""
    largest = np.abs(weight).max(axis=0)
    scales = np.where(largest > 0, largest / _LARGEST, 1.0).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales
