"""What float16 graphs have in common, whatever operators they are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto

from g4v.export.errors import ExportError
from g4v.export.graph.writer import Array, Graph, numpy32


class Half(Graph):
    """Mixed into a kind of graph: its values and weights are then float16, its inputs and outputs float32.
    Norms are computed in float32: their sums of squares overflow first.
    """

    real = TensorProto.FLOAT16
    real_name = "float16"

    def __init__(self, folder: str | Path, stem: str) -> None:
        super().__init__(folder, stem)
        self._wide: set[str] = set()  # values that are float32

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        value = super().input(name, dtype, shape)
        return self.op("Cast", value, to=self.real) if dtype == "float32" else value

    def output(self, name: str, value: str, dtype: str, shape: Sequence[int | str]) -> None:
        if dtype == "float32":
            self.op("Cast", value, outputs=[name], to=TensorProto.FLOAT)
            value = name
        super().output(name, value, dtype, shape)

    def weight(self, tensor: Array, name: str | None = None, wide: bool = False) -> str:
        array = numpy32(tensor)
        if array.dtype != np.float32 or wide:
            return self._constant(array, name)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if np.isfinite(half).all():
            return self._constant(half, name)
        if self.refuses_large:
            raise ExportError(f"{self.stem}: a weight of {np.abs(array).max():.3g} is beyond float16")
        return self._constant(array, name)  # g4v.export.passes.keep_in_float32 has it used in float32

    def narrow(self, x: str) -> str:
        return self.op("Cast", x, to=self.real)

    def wide(self, x: str) -> str:
        value: str = self.op("Cast", x, to=TensorProto.FLOAT)
        self._wide.add(value)
        return value

    def skip_layer_norm(
        self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array | None = None
    ) -> tuple[str, str]:
        if skip not in self._wide:
            return super().skip_layer_norm(x, skip, norm, bias)
        x = self.wide(x)
        if bias is not None:
            x = self.op("Add", x, self.weight(bias, wide=True))
        total = self.op("Add", x, skip)
        self._wide.add(total)
        return self.layer_norm(total, norm), total

    def norm(self, kind: str, x: str, scale: Array, shift: Array, **attributes: Any) -> str:
        x = self.op("Cast", x, to=TensorProto.FLOAT)
        weights = [self.weight(part, wide=True) for part in (scale, shift)]
        return self.narrow(self.op(kind, x, *weights, **attributes))
