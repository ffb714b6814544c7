"""Products with block-quantised weights, by ONNX Runtime's MatMulNBits."""

from __future__ import annotations

import numpy as np
import onnx

from g4v.export.graph.onnx_file import OnnxFile, attribute
from g4v.export.graph.operators import MICROSOFT
from g4v.export.graph.writer import Array, GraphWriter
from g4v.export.quantisation.codes import Quantised

MATMUL_NBITS = "MatMulNBits"
# The operator's accuracy levels: activations as they are, with weights converted to float; or activations
# rounded to 8 bits, block by block, with products of integers.
_FLOAT_ACTIVATIONS, _INT8_ACTIVATIONS = 0, 4
_OFFSETS = ".offsets"  # ends the name of the offsets of codes, after that of the codes


def quantised_matmul(g: GraphWriter, x: str, weight: Quantised, bias: Array | None = None) -> str:
    """x @ weight.T + bias, where x is [1, S, in] if `weight` has offsets, and `weight` is [out, in].

    What offsets add is their product with the sums of x over each block. (MatMulNBits takes them, too, as
    zero points in floating point, but then converts all weights on every call: 30 times slower on a CPU.)
    """
    packed = g.weight(weight.packed(), g.new_name("codes"))
    y = g.op(
        MATMUL_NBITS,
        x,
        packed,
        g.weight(weight.scales),
        domain=MICROSOFT,
        K=weight.columns,
        N=len(weight.codes),
        bits=weight.bits,
        block_size=weight.block,
        accuracy_level=_INT8_ACTIVATIONS,
    )
    if weight.offsets is not None:
        blocks = g.reshape(x, 0, 0, -1, weight.block)
        sums = g.op("ReduceSum", blocks, g.ints(3), keepdims=0)
        added = g.op("MatMul", sums, g.weight(weight.offsets.t(), packed + _OFFSETS))
        y = g.op("Add", y, added)
    return y if bias is None else g.op("Add", y, g.weight(bias))


def read_codes(file: OnnxFile, node: onnx.NodeProto, columns: int) -> Quantised:
    """The codes that a MatMulNBits node of `file` multiplies with, copied; scales and offsets become float32.
    columns: of the matrix.
    """
    tensors = file.tensors
    added = tensors.get(node.input[1] + _OFFSETS)
    offsets = None if added is None else file.array(added).astype(np.float32)
    packed, scales = (file.array(tensors[name]) for name in node.input[1:3])
    return Quantised.unpacked(
        np.array(packed), scales.astype(np.float32), attribute(node, "bits"), columns, offsets
    )


def use_float_activations(node: onnx.NodeProto) -> None:
    """Has a MatMulNBits node leave its activations as they are, to compare it exactly."""
    for entry in node.attribute:
        if entry.name == "accuracy_level":
            entry.i = _FLOAT_ACTIVATIONS
