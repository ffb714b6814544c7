"""Keeps in float32 what would overflow in a float16 graph.

A pass over the written graph: every node that makes, takes or computes on the way something within `MARGIN`
of float16's limit, by the ranges that were measured (g4v.export.verify.activation_ranges), is computed in
float32, with casts where float16 begins and ends. Weights stay float16 in the data file, but for those that
it cannot hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.verify.activation_ranges import LIMIT, by_kind, measure_ranges
from g4v.export.verify.comparison import Feeds
from g4v.export.verify.range_probes import INNER
from g4v.export.verify.session import memory_of, open_session
from g4v.export.verify.value_types import value_types

MARGIN = 4.0  # other inputs may be so many times larger than the samples before anything overflows
_FULL, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16


@dataclass(frozen=True)
class Measured:
    """largest: magnitude of the values that the graph holds (in float16 as it was first written, if it has
    such), by operator, largest first. kept: nodes that are computed in float32 because of it, in the graph's
    order, with the largest magnitude that each has to do with. left: the largest of what is float16 then, or
    else of everything.
    """

    largest: dict[str, float]
    kept: dict[str, float]
    left: float


def measure_graph(folder: Path, stem: str, feeds: Feeds, half: bool) -> Measured:
    """Measures `stem`.onnx in `folder` on inputs by name (of an abstractor of two graphs those of the first)
    and, where it is a float16 graph, keeps in float32 what that type would not hold. Of other graphs the
    first two inputs are enough. ExportError: a value that is not finite.
    """
    if half:
        ranges = measure_ranges(folder, stem, feeds)
        before = by_kind(folder, stem, ranges)
        kept = keep_in_float32(folder / f"{stem}.onnx", ranges)
        return Measured(before, kept, max(by_kind(folder, stem, ranges).values(), default=0.0))
    given, found, memory = feeds[:2], {}, memory_of(folder, stem)
    if memory is not None:
        found = by_kind(folder, memory, measure_ranges(folder, memory, given))
        session = open_session(folder / f"{memory}.onnx", as_written=False)
        given = [{"memory": session.run(None, dict(feed))[0]} for feed in given]
        del session
    for kind, value in by_kind(folder, stem, measure_ranges(folder, stem, given)).items():
        found[kind] = max(found.get(kind, 0.0), value)
    found = dict(sorted(found.items(), key=lambda item: -item[1]))
    return Measured(found, {}, max(found.values(), default=0.0))


def keep_in_float32(path: Path, ranges: Mapping[str, float]) -> dict[str, float]:
    """Rewrites the graph `path` where a value may overflow. ranges: the largest magnitude of its values and
    of what its nodes compute inside, by name. Returns the nodes that are computed in float32, as
    `Measured.kept`; the graph stays as it is where there are none.
    """
    file = OnnxFile(path)
    work = _Pass(file.graph, ranges)
    if work.kept:
        file.put_nodes(work.nodes)
        for value in file.graph.value_info:
            if value.name in work.now:
                value.type.tensor_type.elem_type = work.now[value.name]
        file.save()
    return work.kept


@dataclass
class _Pass:
    """nodes: of the graph afterwards. now: the types of its values afterwards. kept: as in `Measured`."""

    graph: onnx.GraphProto
    ranges: Mapping[str, float]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    kept: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = value_types(self.graph)  # types as the graph was written
        self.now = dict(self.before)
        self._casts: dict[tuple[str, int], str] = {}
        for node in self.graph.node:
            self._take(node)

    def _take(self, node: onnx.NodeProto) -> None:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        halves = [name for name in node.output if self.before.get(name) == _HALF]
        if node.op_type == "Cast":
            if halves and self._size(node.output[0]) * MARGIN > LIMIT:
                new.attribute[0].i = _FULL
                self._made(node, halves, _FULL, self._size(node.output[0]))
            self.nodes.append(new)
            return
        if not halves:
            self.nodes.append(new)
            return
        size = max(map(self._size, (*node.input, *node.output, node.name + INNER)))
        # A weight beyond float16 was written in float32.
        heavy = any(self.before.get(name) == _FULL for name in self._typed(node))
        kind = _FULL if heavy or size * MARGIN > LIMIT else _HALF
        for place, name in enumerate(node.input):
            if self.before.get(name) == _HALF and self.now[name] != kind:
                new.input[place] = self._cast(name, kind)
        self.nodes.append(new)
        if kind == _FULL:
            self._made(node, halves, kind, size)

    @staticmethod
    def _typed(node: onnx.NodeProto) -> list[str]:
        """Inputs that have the type of the results."""
        if node.op_type == "Resize":  # its scales are always float32
            return [node.input[0]]
        return [name for name in node.input if name]

    def _size(self, name: str) -> float:
        return self.ranges.get(name, 0.0)

    def _made(self, node: onnx.NodeProto, outputs: list[str], kind: int, size: float) -> None:
        self.now.update(dict.fromkeys(outputs, kind))
        self.kept[node.name] = size

    def _cast(self, name: str, kind: int) -> str:
        """The value in another type, made once."""
        if (name, kind) not in self._casts:
            made = f"{name}.{'wide' if kind == _FULL else 'narrow'}"
            self.nodes.append(helper.make_node("Cast", [name], [made], name=made, to=kind))
            self._casts[name, kind] = made
        return self._casts[name, kind]
