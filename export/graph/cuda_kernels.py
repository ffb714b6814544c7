"""The kernels of ONNX Runtime's CUDA provider, of those operators that g4v's graphs are made of.

Copied from docs/OperatorKernels.md of microsoft/onnxruntime at commit 001d12d2623f, which is made from the
registered kernels. Operators of ONNX are given for opset 20 (g4v.export.graph.operators.ONNX_OPSET): the row
of the page whose range holds it. float64 and the 8-bit floating types, which no graph of ours has, are left
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from g4v.export.errors import ExportError
from g4v.export.graph.onnx_file import OnnxFile

_OPSETS = {"": 20, "com.microsoft": 1}
_FLOATS = "float float16"
_WITH_BFLOAT = f"bfloat16 {_FLOATS}"
_WHOLE = "int8 int16 int32 int64 uint8 uint16 uint32 uint64"
_ALL = f"bool {_WITH_BFLOAT} {_WHOLE}"
_COMPARED = f"{_FLOATS} int32 int64 uint32 uint64"


@dataclass(frozen=True)
class Kernel:
    """inputs, outputs: the type variable of each, the last one repeating in variadic operators (*); types:
    what each variable may be. A variable of an output alone has one type, but for Cast's.
    """

    inputs: str
    outputs: str
    types: Mapping[str, str]


def _same(types: str, inputs: str = "T", outputs: str = "T") -> Kernel:
    return Kernel(inputs, outputs, {"T": types, "I": "int64", "S": "float"})


_ONNX = {
    "Add": _same(f"{_WITH_BFLOAT} {_WHOLE}", "T T"),
    "AveragePool": _same(_FLOATS),
    "Cast": Kernel("T1", "T2", {"T1": _ALL, "T2": _ALL}),
    "Clip": _same(f"{_FLOATS} int8 int64 uint8 uint64", "T T T"),
    "Concat": _same(_ALL, "T*"),
    "Conv": _same(_FLOATS, "T T T"),  # bfloat16 from opset 22 on
    "Cos": _same(_FLOATS),
    "DepthToSpace": _same(_FLOATS),
    "Div": _same(f"{_WITH_BFLOAT} {_WHOLE}", "T T"),
    "Equal": Kernel("T T", "T1", {"T": f"bool {_COMPARED}", "T1": "bool"}),
    "Expand": _same(_ALL, "T I"),
    "Gather": Kernel("T Tind", "T", {"T": _ALL, "Tind": "int32 int64"}),
    "Gelu": _same(_WITH_BFLOAT),
    "Greater": Kernel("T T", "T1", {"T": _COMPARED, "T1": "bool"}),
    "Identity": _same(_ALL),
    "InstanceNormalization": _same(_FLOATS, "T T T"),
    "LayerNormalization": Kernel("T V V", "V U U", {"T": _WITH_BFLOAT, "V": _WITH_BFLOAT, "U": "float"}),
    "MatMul": _same(_WITH_BFLOAT, "T T"),
    "MaxPool": Kernel("T", "T I", {"T": f"{_FLOATS} int8 uint8", "I": "int64"}),
    "Mul": _same(f"{_WITH_BFLOAT} {_WHOLE}", "T T"),
    "Pad": _same(f"bool {_FLOATS}", "T I T Tind"),
    "ReduceMax": _same(f"{_FLOATS} int32 int64", "T I"),
    "ReduceSum": _same(f"{_WITH_BFLOAT} int32 int64", "T I"),
    "Relu": _same(_WITH_BFLOAT),
    "Reshape": _same(_ALL, "T I"),
    "Resize": Kernel(
        "T1 T2 S I", "T1", {"T1": f"{_FLOATS} int32 uint8", "T2": _FLOATS, "S": "float", "I": "int64"}
    ),
    "Shape": Kernel("T", "T1", {"T": _ALL, "T1": "int64"}),
    "Sigmoid": _same(_WITH_BFLOAT),
    "SimplifiedLayerNormalization": Kernel(
        "T V", "V U", {"T": _WITH_BFLOAT, "V": _WITH_BFLOAT, "U": "float"}
    ),
    "Sin": _same(_FLOATS),
    "Slice": Kernel("T Tind Tind Tind Tind", "T", {"T": _ALL, "Tind": "int32 int64"}),
    "Split": _same(_ALL, "T I", "T*"),
    "Sqrt": _same(_WITH_BFLOAT),
    "Squeeze": _same(_ALL, "T I"),
    "Sub": _same(f"{_WITH_BFLOAT} {_WHOLE}", "T T"),
    "Transpose": _same(_ALL),
    "Where": Kernel("B T T", "T", {"B": "bool", "T": f"{_WITH_BFLOAT} int32 int64 uint8"}),
}

_MICROSOFT = {
    "Attention": Kernel("T T T M T T M", "T T", {"T": _WITH_BFLOAT, "M": "int32"}),
    "BiasGelu": _same(_WITH_BFLOAT, "T T"),
    "GroupQueryAttention": Kernel(
        "T T T C C M M T T I T T S S",
        "T C C T",
        {"T": "bfloat16 float16", "C": "bfloat16 float16 int8", "M": "int32", "I": "int64", "S": "float"},
    ),
    "MatMulNBits": Kernel(
        "T1 T2 T1 T3 T4 T1",
        "T1",
        {"T1": _WITH_BFLOAT, "T2": "uint8", "T3": f"{_WITH_BFLOAT} uint8", "T4": "int32"},
    ),
    "MultiHeadAttention": Kernel(
        "T T T T M T T T M M", "T T T QK", {"T": _WITH_BFLOAT, "M": "int32", "QK": "float"}
    ),
    "QuickGelu": _same(_WITH_BFLOAT),
    "RotaryEmbedding": Kernel("T M T T", "T", {"T": _WITH_BFLOAT, "M": "int64"}),
    "SkipLayerNormalization": Kernel("T T T T T", "T U U T", {"T": _WITH_BFLOAT, "U": "float"}),
    "SkipSimplifiedLayerNormalization": Kernel("T T T T", "T U U T", {"T": _WITH_BFLOAT, "U": "float"}),
}

KERNELS = {"": _ONNX, "com.microsoft": _MICROSOFT}


def _of(variables: str, count: int) -> list[str]:
    """The variable of each of `count` values."""
    names = variables.split()
    if names[-1].endswith("*"):
        last = names.pop()[:-1]
        names += [last] * (count - len(names))
    return names


def _name(data_type: int) -> str:
    return TensorProto.DataType.Name(data_type).lower()


def check_node(node: onnx.NodeProto, types: Mapping[str, int], opset: int) -> dict[str, int]:
    """The types of a node's outputs. types: of its inputs by name, as in TensorProto.

    LookupError, with a sentence, where the provider has no kernel for it.
    """
    label = f"{node.op_type} ({node.name})"
    if _OPSETS.get(node.domain) != opset or node.op_type not in KERNELS[node.domain]:
        raise LookupError(f"the CUDA provider has no kernel for {label}")
    kernel = KERNELS[node.domain][node.op_type]
    inputs, outputs = _of(kernel.inputs, len(node.input)), _of(kernel.outputs, len(node.output))
    if len(node.input) > len(inputs) or len(node.output) > len(outputs):
        raise LookupError(f"the CUDA provider's kernel for {label} has fewer inputs or outputs")
    bound: dict[str, str] = {}
    for variable, name in zip(inputs, node.input, strict=False):
        if not name:
            continue
        found = _name(types[name])
        if found not in kernel.types[variable].split():
            raise LookupError(f"the CUDA provider has no kernel for {label} with {found} as {variable}")
        if bound.setdefault(variable, found) != found:
            raise LookupError(f"{label} has {bound[variable]} and {found}, which must be one type")
    made = {}
    for variable, name in zip(outputs, node.output, strict=False):
        if name:
            if variable not in bound:
                bound[variable] = _made_type(node, kernel.types[variable])
            made[name] = TensorProto.DataType.Value(bound[variable].upper())
    return made


def _made_type(node: onnx.NodeProto, allowed: str) -> str:
    """Returns the type of an output that no input determines."""
    if node.op_type == "Cast":
        return _name(next(attribute.i for attribute in node.attribute if attribute.name == "to"))
    (only,) = allowed.split()
    return only


def check_kernels(file: OnnxFile) -> None:
    """ExportError for a node that the CUDA provider has no kernel for."""
    graph, name = file.graph, file.path.name
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in graph.input}
    opsets = {entry.domain: entry.version for entry in file.model.opset_import}
    for node in graph.node:
        try:
            types |= check_node(node, types, opsets[node.domain])
        except LookupError as error:
            raise ExportError(f"{name}: {error.args[0]}") from None
    for value in graph.output:
        declared, found = value.type.tensor_type.elem_type, types[value.name]
        if found != declared:
            words = (TensorProto.DataType.Name(kind) for kind in (declared, found))
            raise ExportError(
                f"{name}: {value.name} is declared as {next(words)} but computed as {next(words)}"
            )
