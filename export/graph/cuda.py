"""Graphs for ONNX Runtime's CUDA provider: its fused operators, in float32, float16 or bfloat16.

Whether the provider has a kernel for every node is checked without a GPU, against the table of its kernels
(g4v.export.graph.cuda_kernels). A node without one would run on the CPU, with copies before and behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from g4v.export.graph.fused import FusedLowering

TARGET = "cuda"
# What the provider has no bfloat16 kernel for, with the number of floating inputs.
_NO_BFLOAT16 = {"AveragePool": 1, "Conv": 3, "MaxPool": 1, "Pad": 1, "ReduceMax": 1}


@dataclass(frozen=True)
class CudaLowering(FusedLowering):
    """g4v's own operators are left out: they have no CUDA kernels, or not in every installation."""

    def _float32_inputs(self) -> Mapping[str, int]:
        return _NO_BFLOAT16 if self.dtype.name == "bfloat16" else {}

    def _norm_in_float32(self, x: str) -> bool:
        # The kernels for float16 sum in float32 by themselves.
        if self.dtype.name == "float16":
            return self.g.is_upcast(x)
        return self.dtype.norms_in_float32
