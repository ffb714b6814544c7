"""What a graph says of the values inside it: data types, and which of them do not depend on the inputs."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from g4v.export.graph.onnx_file import attribute

HALF_TYPES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_FLOATING = (TensorProto.FLOAT, *HALF_TYPES)
# Operators whose results do not have their first input's type: the input that has it, and those whose results
# are no floating-point numbers.
_TYPED_BY = {"Where": 1, "DequantizeLinear": 1, "MatMulIntegerToFloat": 2}
_NOT_FLOATING = {"DynamicQuantizeLinear", "Equal", "Greater", "QuantizeLinear", "Shape"}


def value_types(graph: onnx.GraphProto) -> dict[str, int]:
    """Returns the TensorProto type of every floating-point value of a graph by its name."""
    types = {t.name: t.data_type for t in graph.initializer if t.data_type in _FLOATING}
    for value in graph.input:
        if value.type.tensor_type.elem_type in _FLOATING:
            types[value.name] = value.type.tensor_type.elem_type
    for node in graph.node:
        if node.op_type in _NOT_FLOATING or not node.input:
            continue
        made = types.get(node.input[_TYPED_BY.get(node.op_type, 0)])
        if node.op_type == "Cast":
            made = attribute(node, "to")
        if made in _FLOATING:
            types.update({name: made for name in node.output if name})
    return types


def constants(graph: onnx.GraphProto) -> set[str]:
    """Returns the names of values that do not depend on the inputs' values, at most on their sizes."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Shape" or all(name in known for name in node.input if name):
            known.update(node.output)
    return known
