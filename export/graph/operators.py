"""Operator sets of the graphs, and the model that a graph is wrapped in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper

ONNX_OPSET = 20
IR_VERSION = 10
MICROSOFT = "com.microsoft"  # ONNX Runtime's contributed operators
# Operators of g4v (csrc/ort/custom_ops.h), which sessions outside the core get from
# g4v.ops.custom_ops_library().
OWN = "g4v"
SPLIT_GEMM = "MatMul"  # of g4v: x @ weight as a sum of bfloat16 products
WINOGRAD_CONV = "WinogradConv"  # of g4v: a convolution of 3x3 or 3x1 with a border of one zero
NORM_SILU_CONV = "NormSiluWinogradConv"  # of g4v: the same of silu(GroupNorm(x))
SKIP_RMS_NORM = "SkipSimplifiedLayerNormalization"  # RMSNorm of a sum
# Matrices of 8-bit integers whose result is float32: of a dynamically quantised product.
INT8_MATMUL = "MatMulIntegerToFloat"


def make_model(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[TensorProto],
) -> onnx.ModelProto:
    """A model of one graph, with the operator sets and functions that its nodes need."""
    own = {node.op_type for node in nodes if node.domain == OWN}
    return helper.make_model(
        helper.make_graph(nodes, name, inputs, outputs, initializers),
        producer_name="g4v",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", ONNX_OPSET)]
        + [helper.make_opsetid(domain, 1) for domain in (MICROSOFT, OWN) if domain == MICROSOFT or own],
        functions=[_STAND_INS[name]() for name in sorted(own & _STAND_INS.keys())],
    )


# What sessions put in place of g4v's operators where the processor has no kernel for them.


def _split_gemm() -> onnx.FunctionProto:
    product = helper.make_node("MatMul", ["x", "weight"], ["out"])
    opset = helper.make_opsetid("", ONNX_OPSET)
    return helper.make_function(OWN, SPLIT_GEMM, ["x", "weight"], ["out"], [product], [opset], ["pieces"])


def _winograd_conv() -> onnx.FunctionProto:
    inputs = ["x", "weight", "bias"]
    convolution = helper.make_node("Conv", inputs, ["out"], auto_pad="SAME_UPPER")
    opset = helper.make_opsetid("", ONNX_OPSET)
    return helper.make_function(OWN, WINOGRAD_CONV, inputs, ["out"], [convolution], [opset])


def _norm_silu_conv() -> onnx.FunctionProto:
    def constant(name: str, **value: Any) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [name], **value)

    def attribute(output: str, kind: str, type: Any, name: str) -> onnx.NodeProto:
        """A constant that is an attribute of the function."""
        node = helper.make_node("Constant", [], [output])
        node.attribute.append(onnx.AttributeProto(name=kind, type=type, ref_attr_name=name))
        return node

    node = helper.make_node
    nodes = [
        attribute("groups", "value_int", onnx.AttributeProto.INT, "num_groups"),
        attribute("eps", "value_float", onnx.AttributeProto.FLOAT, "epsilon"),
        constant("one", value_ints=[1]),
        constant("keep", value_ints=[0]),
        constant("rest", value_ints=[-1]),
        constant("axis", value_ints=[2]),
        constant("rows", value_ints=[1, -1, 1, 1]),
        node("Reshape", ["groups", "one"], ["group_count"]),
        node("Concat", ["keep", "group_count", "rest"], ["grouped_shape"], axis=0),
        node("Shape", ["x"], ["shape"]),
        node("Reshape", ["x", "grouped_shape"], ["grouped"]),
        node("ReduceMean", ["grouped", "axis"], ["mean"]),
        node("Sub", ["grouped", "mean"], ["centred"]),
        node("Mul", ["centred", "centred"], ["squares"]),
        node("ReduceMean", ["squares", "axis"], ["variance"]),
        node("Add", ["variance", "eps"], ["above"]),
        node("Sqrt", ["above"], ["deviation"]),
        node("Div", ["centred", "deviation"], ["normed"]),
        node("Reshape", ["normed", "shape"], ["image"]),
        node("Reshape", ["scale", "rows"], ["scales"]),
        node("Reshape", ["shift", "rows"], ["shifts"]),
        node("Mul", ["image", "scales"], ["scaled"]),
        node("Add", ["scaled", "shifts"], ["z"]),
        node("Sigmoid", ["z"], ["gate"]),
        node("Mul", ["z", "gate"], ["activated"]),
        node("Conv", ["activated", "weight", "bias"], ["out"], auto_pad="SAME_UPPER"),
    ]
    inputs = ["x", "scale", "shift", "weight", "bias"]
    opset = helper.make_opsetid("", ONNX_OPSET)
    names = ["num_groups", "epsilon"]
    return helper.make_function(OWN, NORM_SILU_CONV, inputs, ["out"], nodes, [opset], names)


_STAND_INS = {SPLIT_GEMM: _split_gemm, WINOGRAD_CONV: _winograd_conv, NORM_SILU_CONV: _norm_silu_conv}
