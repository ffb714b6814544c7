"""Symbolic shapes of the values inside a graph, such as ["batch*frames", 96, "height", "width"].

With them ONNX Runtime sees which buffers are of one size: a large graph loads several times faster (its
planner compares every value with every free buffer otherwise) and reuses memory.
"""

from __future__ import annotations

import logging

import onnx
from onnx import TensorProto, helper

from g4v.export.graph.operators import INT8_MATMUL, MICROSOFT, NORM_SILU_CONV, WINOGRAD_CONV, make_model


def infer_shapes(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Returns the inferred shape of each value inside the graph, by name; outputs are left out."""
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    graph = model.graph
    # External weights become inputs of a copy: their shapes are enough.
    inline = [t for t in graph.initializer if t.data_location != TensorProto.EXTERNAL]
    external = [
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
        for t in graph.initializer
        if t.data_location == TensorProto.EXTERNAL
    ]
    nodes = [known for node in graph.node for known in _known(node)]
    copy = make_model(graph.name, nodes, [*graph.input, *external], list(graph.output), inline)
    logging.getLogger("onnxruntime.tools.symbolic_shape_infer").setLevel(logging.ERROR)
    inferred = SymbolicShapeInference.infer_shapes(copy)
    shapes = {info.name: info for info in inferred.graph.value_info}
    # The inference leaves out the fused sums, which are shaped like what they sum.
    for node in graph.node:
        if node.op_type == "SkipLayerNormalization" and node.output[0] in shapes:
            info = onnx.ValueInfoProto()
            info.CopyFrom(shapes[node.output[0]])
            info.name = node.output[3]
            shapes[info.name] = info
    made = {name for node in graph.node for name in node.output}
    declared = {info.name for info in graph.output}
    return [shapes[name] for name in sorted(made - declared) if name in shapes]


def _known(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A node as nodes of the same shapes that the inference knows."""
    if node.op_type == INT8_MATMUL:
        product = f"{node.output[0]}.int32"
        return [
            helper.make_node("MatMulInteger16", node.input[:2], [product], domain=MICROSOFT),
            helper.make_node("Cast", [product], node.output, to=TensorProto.FLOAT),
        ]
    if node.op_type in ("ReduceMax", "ReduceMin"):
        return [helper.make_node("ReduceSum", node.input, node.output, keepdims=1)]
    if node.op_type == "SkipNorm":
        return [
            helper.make_node("Add", node.input[:2], node.output[1:]),
            helper.make_node("Identity", node.output[1:], node.output[:1]),
        ]
    if node.op_type in (WINOGRAD_CONV, NORM_SILU_CONV):
        inputs = [node.input[0], *node.input[-2:]]
        return [helper.make_node("Conv", inputs, node.output, auto_pad="SAME_UPPER")]
    if node.op_type == "Max":
        return [helper.make_node("Add", node.input[:2], node.output)]
    return [node]
