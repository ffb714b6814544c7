"""Measures how large the values inside a graph get on given inputs: what float16 must be able to hold.

A copy of the graph in float32 is run with probes (g4v.export.verify.range_probes). Weights stay in their data
file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from g4v.export.errors import ExportError
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.verify.half_precision import half_type
from g4v.export.verify.range_probes import CARRIES, INNER, add_probes
from g4v.export.verify.session import open_session
from g4v.export.verify.value_types import HALF_TYPES, value_types

LIMIT = 65504.0  # float16's largest number


def measure_ranges(folder: Path, stem: str, feeds: Iterable[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """Returns the largest magnitude of every floating-point value in a graph over all feeds, by its name.

    folder, stem: the graph, `folder`/`stem`.onnx. It is measured in float32, so that nothing overflows.
    feeds: inputs by name, one mapping for each run.

    "NODE/inner" is the magnitude of what a fused operator computes inside.
    ExportError: a value is not finite even in float32.
    """
    file = OnnxFile(folder / f"{stem}.onnx")
    _upcast(file)
    carried, probes = add_probes(file.graph)
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
    """Returns the largest magnitude of the results of each operator, such as "MatMul", largest first.

    ranges: of `measure_ranges` for `folder`/`stem`.onnx. "MatMul (inside)" is what does not leave a fused
    operator. Of a float16 graph only float16 values count, of others every value.
    """
    graph = OnnxFile(folder / f"{stem}.onnx").graph
    types = value_types(graph)
    half = TensorProto.FLOAT16 in types.values()
    found: dict[str, float] = {}
    for node in graph.node:
        if node.op_type in CARRIES or (half and types.get(node.output[0]) != TensorProto.FLOAT16):
            continue
        for name in (*node.output, node.name + INNER):
            if name in ranges:
                kind = node.op_type + (" (inside)" if name.endswith(INNER) else "")
                found[kind] = max(found.get(kind, 0.0), ranges[name])
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _upcast(file: OnnxFile) -> None:
    """Makes a graph compute in float32; 16-bit weights are upcast where they are used."""
    casts, graph = [], file.graph
    if half_type(graph) is None:
        return
    for tensor in graph.initializer:
        if tensor.data_type in HALF_TYPES:
            casts.append(helper.make_node("Cast", [tensor.name + ".short"], [tensor.name], to=1))
            tensor.name += ".short"
    for node in graph.node:
        for entry in node.attribute:
            if node.op_type == "Cast" and entry.name == "to" and entry.i in HALF_TYPES:
                entry.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in HALF_TYPES:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    file.put_nodes([*casts, *graph.node])
