"""Data types that a graph computes in: how weights are stored, and what stays in float32 beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np
from onnx import TensorProto

from g4v.export.errors import ExportError


@dataclass(frozen=True)
class DType:
    """The type of a graph's values and weights. Its floating inputs and outputs are float32 in any case.

    name: as in NumPy and PyTorch, such as "float16".

    onnx: the TensorProto type.

    numpy: the type of stored weights.

    norms_in_float32: norms are computed in float32; their sums of squares overflow or lose digits first.

    refuses_overflow: a weight that the type cannot hold is an ExportError. Else it is stored in float32, and
    g4v.export.passes.keep_in_float32 has it used in float32.
    """

    name: str
    onnx: int
    numpy: np.dtype
    norms_in_float32: bool
    refuses_overflow: bool = False

    @property
    def is_half(self) -> bool:
        """Whether it has 16 bits."""
        return self.numpy.itemsize == 2

    def convert(self, weight: np.ndarray) -> np.ndarray:
        """A float32 weight as it is stored. ExportError: it overflows, and the type refuses that."""
        with np.errstate(over="ignore"):
            stored = weight.astype(self.numpy, copy=False)
        # bfloat16 has the range of float32.
        if self.name != "float16" or np.isfinite(stored).all():
            return stored
        if self.refuses_overflow:
            raise ExportError(f"a weight of {np.abs(weight).max():.3g} is beyond float16")
        return weight

    def refusing_overflow(self) -> DType:
        """Returns a copy that refuses weights beyond its range, for graphs that no pass rewrites."""
        return replace(self, refuses_overflow=True)


FLOAT32 = DType("float32", TensorProto.FLOAT, np.dtype(np.float32), norms_in_float32=False)
FLOAT16 = DType("float16", TensorProto.FLOAT16, np.dtype(np.float16), norms_in_float32=True)
# float32's range, so that nothing overflows, and 8 bits of mantissa where float16 has 11: for models that
# float16 does not hold.
BFLOAT16 = DType("bfloat16", TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16), norms_in_float32=True)
