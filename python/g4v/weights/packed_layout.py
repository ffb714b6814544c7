"""Matrices in the layout that the core's own CPU decoder computes with.

Rows are in panels of 16, column by column, as csrc/kernels/cpu/linear/packed_matrix.h describes them.
"""

from __future__ import annotations

import numpy as np

from g4v.weights.gguf_codes import BlockCodes

PANEL = 16  # rows of a matrix that lie side by side


def pack_codes(found: BlockCodes) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns codes, scales and minima of a matrix as the file has them.

    Codes: uint8 [panels, blocks, 4, 16, 4], two in a byte, of 4 bits; int8 [panels, blocks, block / 4, 16, 4]
    of 8 bits. Scales and minima: [panels, blocks, 16], float16 where that holds both exactly, else float32.
    Minima: what is added to scale * code; None where the codes have no offsets.
    """
    rows, blocks, block = found.codes.shape
    panels = -(-rows // PANEL)
    zero = 2 ** (found.bits - 1)
    filled = np.full((panels * PANEL, blocks, block), zero, np.uint8)
    filled[:rows] = found.codes
    scales, minima = found.scales, found.offsets
    if minima is not None and found.bits == 8 and 112 <= filled.min() <= filled.max() <= 143:
        # Codes of 5 bits began at zero in their file: from there on float16 holds the minima, too.
        filled, minima = filled + np.uint8(16), minima - scales * np.float32(16)
    elif minima is not None and found.bits == 4:
        minima = minima - scales * np.float32(zero)
    grouped = filled.reshape(panels, PANEL, blocks, block // 4, 4).transpose(0, 2, 3, 1, 4)
    if found.bits == 4:
        packed = grouped[:, :, :4] | (grouped[:, :, 4:] << 4)
    else:
        packed = (grouped ^ 0x80).view(np.int8)
    scales = _panels(scales)
    added = None if minima is None else _panels(minima)
    if all(_is_float16(values) for values in (scales, added) if values is not None):
        scales = scales.astype(np.float16)
        added = None if added is None else added.astype(np.float16)
    return np.ascontiguousarray(packed), scales, added


def pack_floats(matrix: np.ndarray) -> np.ndarray:
    """Returns a matrix, float32 [rows, columns], as [panels, columns, 16]: the bits of bfloat16 as uint16, or
    float16, where one of them holds it exactly, else float32.
    """
    packed = _panels(matrix)
    bits = packed.view(np.uint32)
    if not (bits & 0xFFFF).any():  # a bfloat16 is the first half of a float32
        return (bits >> 16).astype(np.uint16)
    return packed.astype(np.float16) if _is_float16(packed) else packed


def _panels(values: np.ndarray) -> np.ndarray:
    """[rows, columns] as float32 [panels, columns, 16], with zeros for rows that are not there."""
    rows, columns = values.shape
    panels = -(-rows // PANEL)
    filled = np.zeros((panels * PANEL, columns), np.float32)
    filled[:rows] = values
    return np.ascontiguousarray(filled.reshape(panels, PANEL, columns).transpose(0, 2, 1))


def _is_float16(values: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))
