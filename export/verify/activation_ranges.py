"""How large the values inside a graph get, measured on given inputs: what float16 must be able to hold.

A copy of the graph in float32 is run with a probe behind every node, ReduceMax(Abs(.)): one number leaves
it, and what was probed is freed. Weights stay in their data file. Of fused operators some values never leave
them; bounds of those are computed beside them (`INNER`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from g4v.export.errors import ExportError
from g4v.export.graph.onnx_file import OnnxFile, attribute
from g4v.export.verify.comparison import open_session

LIMIT = 65504.0  # float16's largest number
INNER = "/inner"  # after a node's name: what its operator computes on the way
# Their results have the size of what they are given.
_CARRIES = {"Cast", "Concat", "Expand", "Identity", "Reshape", "Resize", "Squeeze", "Transpose", "Unsqueeze"}
# Whose results are not of their first input's type: the input that says it, and those that are whole numbers.
_TYPED_BY = {"Where": 1, "DequantizeLinear": 1, "MatMulIntegerToFloat": 2}
_NOT_REAL = {"DynamicQuantizeLinear", "Equal", "Greater", "QuantizeLinear", "Shape"}
_SIXTEEN = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_REAL = (TensorProto.FLOAT, *_SIXTEEN)


def measure_ranges(folder: Path, stem: str, feeds: Iterable[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """The largest magnitude of every floating value that `stem`.onnx in `folder` computes, by its name, over
    all feeds (inputs by name); and "NODE/inner" of nodes that compute more than they give. A float16 graph is
    measured in float32, so that nothing overflows.

    ExportError: a value that is not finite even so.
    """
    file = OnnxFile(folder / f"{stem}.onnx")
    _upcast(file)
    carried, probes = _probe(file.graph)
    found = dict.fromkeys(probes, 0.0)
    with file.beside("ranges") as place:
        session = open_session(place, as_written=True)
        for feed in feeds:
            for name, value in zip(probes, session.run(list(probes.values()), dict(feed)), strict=True):
                largest = float(np.max(value))
                if np.isneginf(largest):
                    continue  # the largest of nothing: of a single frame some values have no rows
                if not np.isfinite(largest):
                    raise ExportError(f"{stem}: {name} is not finite, even in float32")
                found[name] = max(found[name], largest)
    for value, sources in carried.items():  # in the graph's order
        found[value] = max((found[source] for source in sources if source in found), default=0.0)
    return found


def by_kind(folder: Path, stem: str, ranges: Mapping[str, float]) -> dict[str, float]:
    """The largest magnitude by the operator that computes it, largest first; "(inside)" for what does not
    leave the operator. Of a float16 graph what is float16 counts, of others everything.
    """
    graph = OnnxFile(folder / f"{stem}.onnx").graph
    types = value_types(graph)
    half = TensorProto.FLOAT16 in types.values()
    found: dict[str, float] = {}
    for node in graph.node:
        if node.op_type in _CARRIES or (half and types.get(node.output[0]) != TensorProto.FLOAT16):
            continue
        for name in (*node.output, node.name + INNER):
            if name in ranges:
                kind = node.op_type + (" (inside)" if name.endswith(INNER) else "")
                found[kind] = max(found.get(kind, 0.0), ranges[name])
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def value_types(graph: onnx.GraphProto) -> dict[str, int]:
    """The TensorProto type of all floating values of a graph; others are left out."""
    types = {t.name: t.data_type for t in graph.initializer if t.data_type in _REAL}
    for value in graph.input:
        if value.type.tensor_type.elem_type in _REAL:
            types[value.name] = value.type.tensor_type.elem_type
    for node in graph.node:
        if node.op_type in _NOT_REAL or not node.input:
            continue
        made = types.get(node.input[_TYPED_BY.get(node.op_type, 0)])
        if node.op_type == "Cast":
            made = attribute(node, "to")
        if made in _REAL:
            types.update({name: made for name in node.output if name})
    return types


def constants(graph: onnx.GraphProto) -> set[str]:
    """Values that do not depend on those of the inputs, but on their sizes at most."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Shape" or all(name in known for name in node.input if name):
            known.update(node.output)
    return known


def _upcast(file: OnnxFile) -> None:
    """Makes a graph compute in float32; 16-bit weights are cast where they are used."""
    casts, graph = [], file.graph
    for tensor in graph.initializer:
        if tensor.data_type in _SIXTEEN:
            casts.append(helper.make_node("Cast", [tensor.name + ".short"], [tensor.name], to=1))
            tensor.name += ".short"
    for node in graph.node:
        for entry in node.attribute:
            if node.op_type == "Cast" and entry.name == "to" and entry.i in _SIXTEEN:
                entry.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _SIXTEEN:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    file.put_nodes([*casts, *graph.node])


def _probe(graph: onnx.GraphProto) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Adds the probes. Returns the values that are as large as others, with these; and of each probed value
    the graph's output that says how large it is.
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
        if node.op_type in _CARRIES:
            carried[made[0]] = [name for name in node.input if name in types]
        elif masks.isdisjoint(node.input):
            groups += [(name, _largest(name)) for name in made]
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
    """What is added to scores to forbid positions: large on purpose, and harmless
    (g4v.export.graph.standard).
    """
    return {node.output[0] for node in graph.node if node.op_type == "Trilu"}


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
