"""Probes in a graph: nodes behind every node that compute the largest magnitude of its result.

One number leaves a probe, ReduceMax(Abs(.)), and what it read is freed. Some values never leave a fused
operator; bounds of those are computed beside it (`INNER`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from g4v.export.graph.onnx_file import attribute
from g4v.export.verify.value_types import constants, value_types

INNER = "/inner"  # after a node's name: what its operator computes on the way
# Operators whose results have the magnitude of their inputs.
CARRIES = {"Cast", "Concat", "Expand", "Identity", "Reshape", "Resize", "Squeeze", "Transpose", "Unsqueeze"}


def add_probes(graph: onnx.GraphProto) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Adds a probe for every floating-point value that a float32 graph computes.

    Returns two mappings by the names of values: the values that are only as large as others, with these
    others; and of each probed value (or "NODE/inner") the new output of the graph that is its magnitude.
    """
    types, fixed, masks = value_types(graph), constants(graph), _masks(graph)
    carried: dict[str, list[str]] = {}
    groups: list[tuple[str, list[onnx.NodeProto]]] = []  # of a value's name: its probe
    for value in graph.input:
        if value.name in types:
            groups.append((value.name, _largest(value.name)))
    for node in graph.node:
        made = [name for name in node.output if name in types and name not in fixed]
        if not made:
            continue
        if node.op_type in CARRIES:
            carried[made[0]] = [name for name in node.input if name in types]
        elif masks.isdisjoint(node.input):
            groups += [(name, _largest_of(name, types[name])) for name in made]
        else:
            carried[made[0]] = [name for name in node.input if name in types and name not in masks]
        inner = _inner(node, graph)
        if inner:
            groups.append((node.name + INNER, inner))
    probes = {}
    # The runtime orders nodes from the last leaf of the graph back: with the probes in reverse each one runs
    # as soon as it can, and what it reads need not be kept.
    for name, nodes in reversed(groups):
        probes[name] = nodes[-1].output[0]
        graph.node.extend(nodes)
        graph.output.append(helper.make_tensor_value_info(probes[name], TensorProto.FLOAT, []))
    return carried, dict(reversed(probes.items()))


def _masks(graph: onnx.GraphProto) -> set[str]:
    """Masks that are added to attention scores: large on purpose, and harmless (graph.standard)."""
    return {node.output[0] for node in graph.node if node.op_type == "Trilu"}


def _largest_of(name: str, kind: int) -> list[onnx.NodeProto]:
    """`_largest` of a value of any floating type, such as rows of a 16-bit table before they are cast."""
    if kind == TensorProto.FLOAT:
        return _largest(name)
    wide = f"probe.{name}.wide"
    return [helper.make_node("Cast", [name], [wide], name=wide, to=TensorProto.FLOAT), *_largest(wide, name)]


def _largest(name: str, label: str | None = None) -> list[onnx.NodeProto]:
    """Nodes that end in the largest magnitude of a value."""
    label = "probe." + re.sub(r"\W", "_", label or name)
    return [
        helper.make_node("Abs", [name], [label + ".abs"], name=label + ".abs"),
        helper.make_node("ReduceMax", [label + ".abs"], [label], name=label, keepdims=0),
    ]


def _inner(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Nodes that end in the size of what a fused operator computes inside; none for others."""
    start = f"inside.{node.name}"
    if node.op_type == "BiasGelu":
        return [helper.make_node("Add", node.input[:2], [start]), *_largest(start)]
    if node.op_type == "MultiHeadAttention":
        return _scores(node, start, node.input[0], node.input[1], [], None)
    if node.op_type == "Attention":
        product = [
            helper.make_node("MatMul", node.input[:2], [start + ".product"]),
            helper.make_node("Add", [start + ".product", node.input[2]], [start + ".all"]),
            helper.make_node(
                "Split", [start + ".all"], [f"{start}.{i}" for i in "qkv"], axis=-1, num_outputs=3
            ),
        ]
        return _scores(node, start, start + ".q", start + ".k", product, start + ".all")
    return []


def _scores(
    node: onnx.NodeProto, start: str, q: str, k: str, before: Sequence[onnx.NodeProto], also: str | None
) -> list[onnx.NodeProto]:
    """A bound of attention scores: the longest query of a head times the longest key, over the root of their
    size. Scores themselves would be far larger than what they are made of.
    """
    heads = attribute(node, "num_heads")
    nodes = list(before)
    for part, value in (("q", q), ("k", k)):
        label = f"{start}.{part}"
        nodes += [
            helper.make_node("Constant", [], [label + ".shape"], value_ints=[0, 0, heads, -1]),
            helper.make_node("Reshape", [value, label + ".shape"], [label + ".heads"]),
            helper.make_node("Constant", [], [label + ".axis"], value_ints=[3]),
            helper.make_node("ReduceL2", [label + ".heads", label + ".axis"], [label + ".long"], keepdims=0),
            helper.make_node("ReduceMax", [label + ".long"], [label + ".longest"], keepdims=0),
        ]
    nodes += [
        # Every head has the size of the last axis.
        helper.make_node("Shape", [start + ".q.heads"], [start + ".size"], start=3, end=4),
        helper.make_node("Cast", [start + ".size"], [start + ".float"], to=TensorProto.FLOAT),
        helper.make_node("Sqrt", [start + ".float"], [start + ".root"]),
        helper.make_node("Mul", [start + ".q.longest", start + ".k.longest"], [start + ".both"]),
        helper.make_node("Div", [start + ".both", start + ".root"], [start + ".scores"]),
    ]
    if also is None:
        return nodes
    nodes += _largest(also, start + ".all")
    largest = [start + ".scores", nodes[-1].output[0]]
    return [*nodes, helper.make_node("Max", largest, [start + ".max"])]
