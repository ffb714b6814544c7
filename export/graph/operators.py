"""Operator sets of the graphs, and the model that a graph is wrapped in."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

ONNX_OPSET = 20
IR_VERSION = 10
MICROSOFT = "com.microsoft"  # ONNX Runtime's contributed operators
# Operators of g4v (csrc/ort/custom_ops.h), which sessions outside the core get from
# g4v.ops.custom_ops_library().
OWN = "g4v"
SPLIT_GEMM = "MatMul"  # of g4v: x @ weight as a sum of bfloat16 products
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
    own = any(node.domain == OWN for node in nodes)
    split = any(node.domain == OWN and node.op_type == SPLIT_GEMM for node in nodes)
    return helper.make_model(
        helper.make_graph(nodes, name, inputs, outputs, initializers),
        producer_name="g4v",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", ONNX_OPSET)]
        + [helper.make_opsetid(domain, 1) for domain in (MICROSOFT, OWN) if domain == MICROSOFT or own],
        functions=[_split_gemm_function()] if split else [],
    )


def _split_gemm_function() -> onnx.FunctionProto:
    """What sessions put in place of g4v's product where the processor has no kernel for it."""
    product = helper.make_node("MatMul", ["x", "weight"], ["out"])
    opset = helper.make_opsetid("", ONNX_OPSET)
    return helper.make_function(OWN, SPLIT_GEMM, ["x", "weight"], ["out"], [product], [opset], ["pieces"])
