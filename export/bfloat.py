"""Graphs whose values and weights are bfloat16, and how they are run on the CPU to compare them.

bfloat16 has float32's range, so that nothing overflows, and 8 bits of mantissa where float16 has 11: for
models that float16 does not hold. Norms are computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import onnx
from g4v.export.cuda import CudaHalfGraph
from g4v.export.graph import Array, numpy32
from g4v.export.half import Half
from g4v.export.standard import HalfGraph
from onnx import TensorProto, helper

_BFLOAT, _FLOAT = TensorProto.BFLOAT16, TensorProto.FLOAT
# What the CUDA provider has no bfloat16 kernel for (g4v.export.cuda_kernels): the inputs that are widened.
_WIDENED = {"Conv": 3, "Pad": 1, "ReduceMax": 1}
# Move values, or compute none of the graph's type.
_MOVES = {
    "Concat",
    "Expand",
    "Gather",
    "Identity",
    "Pad",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
}
_OTHER_TYPE = {"Equal", "Greater", "Shape"}


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


@contextmanager
def runnable(path: Path) -> Iterator[Path]:
    """A graph that ONNX Runtime's CPU provider can run in place of `path`, beside it: `path` itself unless it
    has bfloat16 values, for which there are hardly any kernels.

    Each of its operators then computes in float32, and its results are rounded to bfloat16, which is what
    bfloat16 kernels do that sum in float32; what a fused operator rounds inside is not.
    """
    model = onnx.load(path, load_external_data=False)
    if not _round_results(model):
        yield path
        return
    place = path.with_name(f".{path.stem}.rounded.onnx")
    try:
        place.write_bytes(model.SerializeToString())
        yield place
    finally:
        place.unlink(missing_ok=True)


def _round_results(model: onnx.ModelProto) -> bool:
    """Rewrites the nodes of a graph as `runnable` says; False where it has no bfloat16 values."""
    graph = model.graph
    rounded: set[str] = set()  # values that were bfloat16
    real: set[str] = {v.name for v in graph.input if v.type.tensor_type.elem_type == _FLOAT}
    nodes = []

    def cast(source: str, target: str, to: int) -> None:
        nodes.append(helper.make_node("Cast", [source], [target], to=to))

    for tensor in graph.initializer:
        if tensor.data_type == _FLOAT:
            real.add(tensor.name)
        elif tensor.data_type == _BFLOAT:
            rounded.add(tensor.name)
            cast(tensor.name + ".bfloat16", tensor.name, _FLOAT)
            tensor.name += ".bfloat16"
    for node in graph.node:
        to = next((a.i for a in node.attribute if a.name == "to"), 0) if node.op_type == "Cast" else 0
        first = next((name for name in node.input if name in rounded or name in real), None)
        if to:
            made = rounded if to == _BFLOAT else real if to == _FLOAT else None
        elif first is None or node.op_type in _OTHER_TYPE:
            made = None
        else:
            made = rounded if first in rounded else real
        names = [name for name in node.output if name]
        if made is not None:
            made.update(names)
        if made is not rounded or node.op_type in _MOVES:
            nodes.append(node)
            continue
        if to:  # to bfloat16
            cast(node.input[0], names[0] + ".bfloat16", _BFLOAT)
            cast(names[0] + ".bfloat16", names[0], _FLOAT)
            continue
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name:
                node.output[index] = name + ".exact"
                cast(name + ".exact", name + ".bfloat16", _BFLOAT)
                cast(name + ".bfloat16", name, _FLOAT)
    if not rounded:
        return False
    del graph.value_info[:]
    del graph.node[:]
    graph.node.extend(nodes)
    return True
