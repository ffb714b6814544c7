"""Graphs whose large products are of 8-bit floating numbers (E4M3), weights and activations, for engines.

A pass over a float16 graph, on what was measured of it on real inputs (g4v.export.verify.activation_ranges):

    x                    -> QuantizeLinear -> DequantizeLinear -+
                                                                +-> MatMul or Conv
    codes of the weight  -------------------> DequantizeLinear -+

is what TensorRT computes as one product of 8-bit numbers; the rest stays float16. An activation has one
scale, a weight one for each column (of a convolution: for each channel that it makes). Products of two
activations, inside attention, are left alone. ONNX Runtime's CPU provider runs the same graph, with the same
rounding.

E4M3 has 4 bits of mantissa. Where rounding all products changes the result by more than `TOLERANCE`, those
that change it most on their own stay float16.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from g4v.export.errors import ExportError
from g4v.export.graph.standard import HalfGraph
from g4v.export.graph.writer import ALIGNMENT
from g4v.export.verify.activation_ranges import measure_ranges
from g4v.export.verify.comparison import FP8_TOLERANCE, Feeds
from g4v.export.verify.error_measures import norm_error
from g4v.export.verify.half_precision import runnable
from g4v.export.verify.session import open_session
from g4v.export.verify.value_types import value_types

LARGEST = 448.0  # of E4M3
# Other inputs may be so many times larger than the samples before a value is cut off. The steps of E4M3 are
# in proportion to its values, so that this costs no digits but those of the very smallest.
MARGIN = 2.0
# Against the float16 graph, which has an error of its own.
TOLERANCE = 0.8 * FP8_TOLERANCE
_SMALLEST = 1 << 12  # weights; fewer are not worth the casts
_MULTIPLE = 16  # of rows and columns of a product in 8 bits: others would be padded
_GROUPS = 32  # of neighbouring products at most, whose errors are found one by one
_CODES, _HALF = TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT16


class Float8Graph(HalfGraph):
    """As it is first written: in float16. `to_float8` makes of it what the name says."""


def to_float8(folder: Path, stem: str, feeds: Feeds) -> dict[str, str]:
    """Rewrites `stem`.onnx and its data in `folder`, each through a temporary name. feeds: real inputs by
    name, from which activations get their scales and on which errors are found. Returns of every
    product with weights "fp8", or "fp16" where it stays so; those too small for it are not named.

    ExportError: no inputs to measure, or no product that can be rounded within the tolerance.
    """
    if not feeds:
        raise ExportError(f"{stem}: fp8 needs inputs to find the scales of activations on")
    path = folder / f"{stem}.onnx"
    model = onnx.load(path, load_external_data=False)
    ranges = measure_ranges(folder, stem, feeds)
    products = _products(model.graph, ranges)
    data = np.memmap(folder / f"{stem}.data", np.uint8, "r")
    scales = {weight: _scales(_content(model, data, weight), axis) for weight, axis in products.values()}
    rounded = _Search(folder, stem, model, ranges, products, scales).choose(feeds) if products else []
    if not rounded:
        raise ExportError(f"{stem}: no product can be of 8-bit numbers within {FP8_TOLERANCE:.0e}; use fp16")
    result = _insert(model, ranges, {name: products[name] for name in rounded}, scales)
    _rewrite_data(folder, stem, result, data, {products[name] for name in rounded}, scales)
    temporary = folder / f"{stem}.onnx.tmp"
    temporary.write_bytes(result.SerializeToString(deterministic=True))
    temporary.replace(path)
    return {name: "fp8" if name in rounded else "fp16" for name in products}


class _Search:
    """Finds which products may be rounded, with a graph in which every group of them has a switch."""

    def __init__(
        self,
        folder: Path,
        stem: str,
        model: onnx.ModelProto,
        ranges: Mapping[str, float],
        products: Mapping[str, tuple[str, int]],
        scales: Mapping[str, np.ndarray],
    ) -> None:
        names, count = list(products), min(_GROUPS, len(products))
        self.groups = [names[len(names) * i // count : len(names) * (i + 1) // count] for i in range(count)]
        self.switches = [f"float8_group_{i}" for i in range(count)]
        groups = {n: switch for switch, group in zip(self.switches, self.groups, strict=True) for n in group}
        switched = _insert(model, ranges, products, scales, groups)
        for switch in self.switches:
            switched.graph.input.append(helper.make_tensor_value_info(switch, TensorProto.BOOL, []))
        place = folder / f".{stem}.float8.onnx"
        try:
            place.write_bytes(switched.SerializeToString())
            with runnable(place) as path:
                self.session = open_session(path, as_written=True)
        finally:
            place.unlink(missing_ok=True)

    def choose(self, feeds: Feeds) -> list[str]:
        """Names of products, in the graph's order."""
        self.wanted = [self._run((), feed) for feed in feeds]
        every = range(len(self.groups))
        if self._error(every, feeds) <= TOLERANCE:
            return [name for group in self.groups for name in group]
        order = sorted(every, key=lambda group: self._error([group], feeds[:1]))  # the harmless ones first
        low, high = 0, len(order) - 1  # so many can be rounded; more than so many cannot
        while low < high:
            middle = (low + high + 1) // 2
            fits = self._error(order[:middle], feeds) <= TOLERANCE
            low, high = (middle, high) if fits else (low, middle - 1)
        return [name for group in sorted(order[:low]) for name in self.groups[group]]

    def _error(self, groups: Sequence[int], feeds: Feeds) -> float:
        found = (self._run(groups, feed) for feed in feeds)
        return max(norm_error(a, torch.from_numpy(b)) for a, b in zip(found, self.wanted, strict=False))

    def _run(self, groups: Collection[int], feed: Mapping[str, np.ndarray]) -> np.ndarray:
        switches = {switch: np.array(i in groups) for i, switch in enumerate(self.switches)}
        result: np.ndarray = self.session.run(None, {**feed, **switches})[0]
        return result


def _products(graph: onnx.GraphProto, ranges: Mapping[str, float]) -> dict[str, tuple[str, int]]:
    """Of every node that can be a product of 8-bit numbers: its weight, and the axis of that one's scales."""
    types = value_types(graph)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    uses: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    found = {}
    for node in graph.node:
        weight = tensors.get(node.input[1]) if node.op_type in ("MatMul", "Conv") else None
        if weight is None or node.input[0] not in ranges or uses[weight.name] > 1:
            continue
        if weight.data_location != TensorProto.EXTERNAL or np.prod(weight.dims) < _SMALLEST:
            continue
        if {types.get(node.input[0]), weight.data_type} != {_HALF}:
            continue  # what g4v.export.passes.keep_in_float32 keeps in float32
        if node.op_type == "Conv":
            made, taken, axis = weight.dims[0], weight.dims[1], 0
        else:
            taken, made, axis = *weight.dims, 1
        if made % _MULTIPLE == 0 and taken % _MULTIPLE == 0:
            found[node.name] = (weight.name, axis)
    return found


def _insert(
    model: onnx.ModelProto,
    ranges: Mapping[str, float],
    products: Mapping[str, tuple[str, int]],
    scales: Mapping[str, np.ndarray],
    switches: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """A copy of the model with the nodes of the docstring above around `products`, for a data file that has
    codes in place of their weights. switches: of every product a value that says whether it is rounded; the
    data file then stays as it is.
    """
    stored = switches is None
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, rounded, nodes = result.graph, set(), []
    names = {weight: f"{weight}.codes" if stored else weight for weight, _ in products.values()}
    constants = [TensorProto(name="float8_zero", data_type=_CODES, raw_data=b"\0")] if products else []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(helper.make_tensor(name, _HALF, value.shape, value.tobytes(), raw=True))
        return name

    for node in graph.node:
        if node.name in products:
            x, (weight, axis) = node.input[0], products[node.name]
            if x not in rounded:  # once, however many products take it
                rounded.add(x)
                size = max(ranges[x] * MARGIN / LARGEST, float(np.finfo(np.float16).tiny))
                scale = [constant(f"{x}.scale", np.array(size, np.float16)), "float8_zero"]
                nodes += [
                    helper.make_node("QuantizeLinear", [x, *scale], [f"{x}.codes"], f"{x}.quantise"),
                    helper.make_node(
                        "DequantizeLinear", [f"{x}.codes", *scale], [f"{x}.rounded"], f"{x}.dequantise"
                    ),
                ]
            inputs = [names[weight], constant(f"{weight}.scale", scales[weight])]
            if not stored:
                zeros = TensorProto(name=f"{weight}.zeros", data_type=_CODES, dims=scales[weight].shape)
                zeros.raw_data = bytes(len(scales[weight]))
                constants.append(zeros)
                nodes.append(
                    helper.make_node("QuantizeLinear", [*inputs, zeros.name], [f"{weight}.codes"], axis=axis)
                )
                inputs[0] = f"{weight}.codes"
            made = f"{weight}.rounded"
            nodes.append(
                helper.make_node("DequantizeLinear", inputs, [made], f"{made}.dequantise", axis=axis)
            )
            for place, (exact, coarse) in enumerate(((x, f"{x}.rounded"), (weight, made))):
                chosen = coarse
                if switches is not None:
                    chosen = f"{coarse}.{node.name}"
                    nodes.append(helper.make_node("Where", [switches[node.name], coarse, exact], [chosen]))
                node.input[place] = chosen
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    for tensor in graph.initializer:
        if stored and tensor.name in names:
            tensor.name, tensor.data_type = names[tensor.name], _CODES
    graph.initializer.extend(constants)
    return result


def _content(model: onnx.ModelProto, data: np.ndarray, name: str) -> np.ndarray:
    """A float16 weight in the data file."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    start, length = _place(tensor)
    return data[start : start + length].view(np.float16).reshape(tensor.dims)


def _place(tensor: TensorProto) -> tuple[int, int]:
    place = {entry.key: int(entry.value) for entry in tensor.external_data if entry.key != "location"}
    return place["offset"], place["length"]


def _rewrite_data(
    folder: Path,
    stem: str,
    model: onnx.ModelProto,
    data: np.ndarray,
    weights: Collection[tuple[str, int]],
    scales: Mapping[str, np.ndarray],
) -> None:
    """Puts codes in place of weights in the data file, and the new places into the model."""
    axes = {f"{weight}.codes": (weight, axis) for weight, axis in weights}
    temporary = folder / f"{stem}.data.tmp"
    with open(temporary, "wb") as out:
        for tensor in model.graph.initializer:
            if tensor.data_location != TensorProto.EXTERNAL:
                continue
            start, length = _place(tensor)
            content = data[start : start + length]
            if tensor.name in axes:
                weight, axis = axes[tensor.name]
                halves = content.view(np.float16).reshape(tensor.dims)
                content = round_weight(halves, scales[weight], axis).reshape(-1).view(np.uint8)
            out.write(b"\0" * (-out.tell() % ALIGNMENT))
            for entry in tensor.external_data:
                if entry.key != "location":
                    entry.value = str(out.tell() if entry.key == "offset" else content.nbytes)
            out.write(content.data)
    temporary.replace(folder / f"{stem}.data")


def _scales(weight: np.ndarray, axis: int) -> np.ndarray:
    """float16, one for each index of the axis."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others).astype(np.float32)
    return np.maximum(largest / LARGEST, np.finfo(np.float16).tiny).astype(np.float16)


def round_weight(weight: np.ndarray, scales: np.ndarray, axis: int) -> np.ndarray:
    """weight float16 ~ codes * scales along `axis`: codes float8_e4m3fn of its shape; none is beyond the
    largest, though a scale was rounded.
    """
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    codes = weight.astype(np.float32) / scales.astype(np.float32).reshape(shape)
    return np.clip(codes, -LARGEST, LARGEST).astype(ml_dtypes.float8_e4m3fn)
