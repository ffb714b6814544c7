"""Half-precision emulation: runs float16 and bfloat16 graphs on the CPU with a GPU's rounding.

ONNX Runtime's CPU provider has few kernels of 16 bits. It computes other operators in float32 and, between
two of them, leaves out the rounding: a graph would seem more exact than it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from g4v.export.graph.onnx_file import OnnxFile, attribute

_FLOAT = TensorProto.FLOAT
_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
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
_OTHER_TYPE = {"Equal", "Greater", "QuantizeLinear", "Shape"}


@contextmanager
def emulated(path: Path) -> Iterator[Path]:
    """A graph that ONNX Runtime's CPU provider can run in place of `path`, beside it: `path` itself unless it
    computes in half precision.

    Each of its operators then computes in float32, and its results are rounded to 16 bits, which is what
    kernels do that sum in float32; what a fused operator rounds inside is not.
    """
    file = OnnxFile(path)
    kind = half_type(file.graph)
    if kind is None:
        yield path
        return
    _round_results(file, kind)
    with file.beside("rounded") as place:
        yield place


def half_type(graph: onnx.GraphProto) -> int | None:
    """The TensorProto type of 16 bits that a graph computes in. None for other graphs, also for those that
    only store weights so (g4v.export.passes.store_as_float16) or the rows of a table
    (`GraphWriter.gathered`).
    """
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer if tensor.data_type in _HALF}
    used = (name for node in graph.node if node.op_type not in ("Cast", "Gather") for name in node.input)
    return next((stored[name] for name in used if name in stored), None)


def _round_results(file: OnnxFile, kind: int) -> None:
    """Rewrites the nodes of a graph of that type as `emulated` says."""
    graph = file.graph
    rounded: set[str] = set()  # values that were of 16 bits
    real: set[str] = {v.name for v in graph.input if v.type.tensor_type.elem_type == _FLOAT}
    nodes = []

    def cast(source: str, target: str, to: int) -> None:
        nodes.append(helper.make_node("Cast", [source], [target], to=to))

    for tensor in graph.initializer:
        if tensor.data_type == _FLOAT:
            real.add(tensor.name)
        elif tensor.data_type == kind:
            rounded.add(tensor.name)
            cast(tensor.name + ".short", tensor.name, _FLOAT)
            tensor.name += ".short"
    for node in graph.node:
        to = attribute(node, "to", 0) if node.op_type == "Cast" else 0
        first = next((name for name in node.input if name in rounded or name in real), None)
        if to:
            made = rounded if to == kind else real if to == _FLOAT else None
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
        if to:  # to 16 bits
            cast(node.input[0], names[0] + ".short", kind)
            cast(names[0] + ".short", names[0], _FLOAT)
            continue
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name:
                node.output[index] = name + ".exact"
                cast(name + ".exact", name + ".short", kind)
                cast(name + ".short", name, _FLOAT)
    del graph.value_info[:]
    file.put_nodes(nodes)
