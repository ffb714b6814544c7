"""Graphs whose values and weights are bfloat16.

bfloat16 has float32's range, so that nothing overflows, and 8 bits of mantissa where float16 has 11: for
models that float16 does not hold. Norms are computed in float32.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
from onnx import TensorProto

from g4v.export.graph.cuda import CudaHalfGraph
from g4v.export.graph.half import Half
from g4v.export.graph.standard import HalfGraph
from g4v.export.graph.writer import Array, numpy32

_BFLOAT, _FLOAT = TensorProto.BFLOAT16, TensorProto.FLOAT
# What the CUDA provider has no bfloat16 kernel for (g4v.export.graph.cuda_kernels): the inputs that are widened.
_WIDENED = {"Conv": 3, "Pad": 1, "ReduceMax": 1}


class BFloat(Half):
    """Mixed into a kind of graph: its values and weights are bfloat16, its inputs and outputs float32."""

    real = _BFLOAT
    real_name = "bfloat16"

    def weight(self, tensor: Array, name: str | None = None, wide: bool = False) -> str:
        array = numpy32(tensor)
        if array.dtype.kind == "f" and not wide:
            array = array.astype(ml_dtypes.bfloat16)
        return self._constant(array, name)


class BFloatGraph(BFloat, HalfGraph):
    """For engines."""


class CudaBFloatGraph(BFloat, CudaHalfGraph):
    """For ONNX Runtime's CUDA provider. The few operators that it does not have in bfloat16 are computed in
    float32.
    """

    def op(self, kind: str, *inputs: str, **options: Any) -> Any:
        count = _WIDENED.get(kind, 0)
        if not count or inputs[0] in self._wide:
            return super().op(kind, *inputs, **options)
        widened = [super(CudaBFloatGraph, self).op("Cast", x, to=_FLOAT) for x in inputs[:count]]
        return self.narrow(super().op(kind, *widened, *inputs[count:], **options))

    def norm(self, kind: str, x: str, scale: Array, shift: Array, **attributes: Any) -> str:
        return Half.norm(self, kind, x, scale, shift, **attributes)
