"""Quantises the large products of a float16 graph to FP8 (E4M3), weights and activations, for engines.

A pass over a float16 graph, on what was measured of it on real inputs (g4v.export.verify.activation_ranges):

    x                    -> QuantizeLinear -> DequantizeLinear -+
                                                                +-> MatMul or Conv
    codes of the weight  -------------------> DequantizeLinear -+

These Q/DQ nodes are what TensorRT computes as one product of 8-bit numbers; the rest stays float16. An
activation has one scale, a weight one for each column (of a convolution: for each channel that it makes).
Products of two activations, inside attention, are left alone. ONNX Runtime's CPU provider runs the same
graph, with the same rounding.

Where quantising all products changes the result by more than `TOLERANCE`, those that change it most on their
own stay float16.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from g4v.export.errors import ExportError
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.quantisation.fp8 import LARGEST, round_weight, weight_scales
from g4v.export.verify.activation_ranges import measure_ranges
from g4v.export.verify.comparison import FP8_TOLERANCE, Feeds
from g4v.export.verify.error_measures import norm_error
from g4v.export.verify.half_precision import emulated
from g4v.export.verify.session import open_session
from g4v.export.verify.value_types import value_types

# Other inputs may be so many times larger than the samples before a value is cut off. The steps of E4M3 are
# in proportion to its values, so that this costs no digits but those of the very smallest.
MARGIN = 2.0
# Against the float16 graph, which has an error of its own.
TOLERANCE = 0.8 * FP8_TOLERANCE
_SMALLEST = 1 << 12  # weights; fewer are not worth the casts
_MULTIPLE = 16  # of rows and columns of a product in 8 bits: others would be padded
_GROUPS = 32  # of neighbouring products at most, whose errors are found one by one
_CODES, _HALF = TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT16
_ZERO = "float8_zero"


@dataclass(frozen=True)
class _Product:
    """A node that can be quantised. weight: its name; axis: of the weight, along which it has scales."""

    weight: str
    axis: int
    scales: np.ndarray


def quantise_fp8(path: Path, feeds: Feeds) -> dict[str, str]:
    """Rewrites the float16 graph `path` and its data file. feeds: real inputs by name, on which the scales of
    activations and the errors are found. Returns of every product with weights "fp8", or "fp16" where it
    stays so; those that are too small for it are not named.

    ExportError: no inputs to measure, or no product that can be quantised within the tolerance.
    """
    if not feeds:
        raise ExportError(f"{path.stem}: fp8 needs inputs to find the scales of activations on")
    ranges = measure_ranges(path.parent, path.stem, feeds)
    file = OnnxFile(path)
    products = _products(file, ranges)
    chosen = _Search(path, ranges, products).choose(feeds) if products else []
    if not chosen:
        raise ExportError(f"{path.stem}: no product can be FP8 (E4M3) within {FP8_TOLERANCE:.0e}; use fp16")
    _insert(file, ranges, {name: products[name] for name in chosen})
    tensors = file.tensors
    for product in map(products.__getitem__, chosen):
        tensor = tensors[product.weight]
        codes = round_weight(file.array(tensor), product.scales, product.axis)
        file.replace(tensor, codes, _CODES, f"{product.weight}.codes")
    file.save()
    return {name: "fp8" if name in chosen else "fp16" for name in products}


class _Search:
    """Finds which products may be quantised, with a graph in which every group of them has a switch."""

    def __init__(self, path: Path, ranges: Mapping[str, float], products: Mapping[str, _Product]) -> None:
        names, count = list(products), min(_GROUPS, len(products))
        self.groups = [names[len(names) * i // count : len(names) * (i + 1) // count] for i in range(count)]
        self.switches = [f"float8_group_{i}" for i in range(count)]
        groups = {n: switch for switch, group in zip(self.switches, self.groups, strict=True) for n in group}
        file = OnnxFile(path)
        _insert(file, ranges, products, groups)
        for switch in self.switches:
            file.graph.input.append(helper.make_tensor_value_info(switch, TensorProto.BOOL, []))
        with file.beside("fp8") as switched, emulated(switched) as runnable:
            self.session = open_session(runnable, as_written=True)

    def choose(self, feeds: Feeds) -> list[str]:
        """Names of products, in the graph's order."""
        self.wanted = [self._run((), feed) for feed in feeds]
        every = range(len(self.groups))
        if self._error(every, feeds) <= TOLERANCE:
            return [name for group in self.groups for name in group]
        order = sorted(every, key=lambda group: self._error([group], feeds[:1]))  # the harmless ones first
        low, high = 0, len(order) - 1  # so many can be quantised; more than so many cannot
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


def _products(file: OnnxFile, ranges: Mapping[str, float]) -> dict[str, _Product]:
    """The nodes that can be quantised, by name."""
    types, tensors = value_types(file.graph), file.tensors
    uses: dict[str, int] = {}
    for node in file.graph.node:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    found = {}
    for node in file.graph.node:
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
            (taken, made), axis = weight.dims, 1
        if made % _MULTIPLE == 0 and taken % _MULTIPLE == 0:
            found[node.name] = _Product(weight.name, axis, weight_scales(file.array(weight), axis))
    return found


def _insert(
    file: OnnxFile,
    ranges: Mapping[str, float],
    products: Mapping[str, _Product],
    switches: Mapping[str, str] | None = None,
) -> None:
    """Puts the nodes of the docstring above around `products`, for codes in place of their weights. switches:
    of every product a value that says whether it is quantised; weights then stay as they are, and codes are
    made of them when the graph runs.
    """
    quantised: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    constants = [TensorProto(name=_ZERO, data_type=_CODES, raw_data=b"\0")]

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(helper.make_tensor(name, _HALF, value.shape, value.tobytes(), raw=True))
        return name

    for node in file.graph.node:
        if node.name not in products:
            nodes.append(node)
            continue
        x, product = node.input[0], products[node.name]
        weight, axis = product.weight, product.axis
        if x not in quantised:  # once, however many products take it
            quantised.add(x)
            size = max(ranges[x] * MARGIN / LARGEST, float(np.finfo(np.float16).tiny))
            scale = [constant(f"{x}.scale", np.array(size, np.float16)), _ZERO]
            nodes += [
                helper.make_node("QuantizeLinear", [x, *scale], [f"{x}.codes"], f"{x}.quantise"),
                helper.make_node(
                    "DequantizeLinear", [f"{x}.codes", *scale], [f"{x}.rounded"], f"{x}.dequantise"
                ),
            ]
        codes, scale_name = f"{weight}.codes", constant(f"{weight}.scale", product.scales)
        if switches is not None:
            zeros = TensorProto(name=f"{weight}.zeros", data_type=_CODES, dims=product.scales.shape)
            zeros.raw_data = bytes(len(product.scales))
            constants.append(zeros)
            nodes.append(
                helper.make_node("QuantizeLinear", [weight, scale_name, zeros.name], [codes], axis=axis)
            )
        made = f"{weight}.rounded"
        nodes.append(
            helper.make_node("DequantizeLinear", [codes, scale_name], [made], f"{made}.dequantise", axis=axis)
        )
        for place, (exact, coarse) in enumerate(((x, f"{x}.rounded"), (weight, made))):
            if switches is None:
                node.input[place] = coarse
                continue
            chosen = f"{coarse}.{node.name}"
            nodes.append(helper.make_node("Where", [switches[node.name], coarse, exact], [chosen]))
            node.input[place] = chosen
        nodes.append(node)
    file.put_nodes(nodes)
    file.graph.initializer.extend(constants)
