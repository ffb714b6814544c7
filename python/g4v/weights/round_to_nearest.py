"""Round-to-nearest quantisation of matrices, block by block, without calibration data.

The scale of a block is chosen among several for the least squared error, and then set to the one that is best
for the codes. Sums are taken pairwise in one fixed order, so that the same weights give the same codes on
every machine.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from g4v.weights.gguf_codes import BlockCodes

BLOCK = 32  # weights that share a scale
_VALUES = 1 << 17  # of a matrix that are worked on at once, so that they stay in the cache
# The largest relative error of float16, where it is neither too large nor too small.
_HALF_STEP = np.float32(2.0**-11)
# By what the value of largest magnitude is divided, in units of the largest code's magnitude. It falls on the
# end of the range (1), or a little outside it, which gives the others a finer grid.
_RANGES = {4: (1.0, 0.94, 0.88, -0.94, -0.875), 8: (1.0,)}


def quantise(weight: np.ndarray, bits: int) -> BlockCodes:
    """Rounds a matrix to the nearest block-wise codes; each block's scale minimises its squared error.

    weight: float32 [out, in]. The last block of a row is filled up with zeros.
    bits: of a code, 4 or 8.

    Rows are shared out among a thread for each core; the codes do not depend on how many there are.
    """
    rows, columns = weight.shape
    blocks = -(-columns // BLOCK)
    codes = np.empty((rows, blocks, BLOCK), np.uint8)
    scales = np.empty((rows, blocks), np.float32)
    count = max(1, _VALUES // columns)

    def quantise_rows(start: int) -> None:
        part = weight[start : start + count]
        padded = np.zeros((len(part), blocks * BLOCK), np.float32)
        padded[:, :columns] = part
        end = start + len(part)
        codes[start:end], scales[start:end] = _quantise_blocks(padded.reshape(-1, blocks, BLOCK), bits)

    # NumPy lets go of the interpreter's lock while it computes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(quantise_rows, range(0, rows, count)):
            pass
    return BlockCodes(codes, _stored(scales), None, bits, f"nearest, {bits} bits")


def _stored(scales: np.ndarray) -> np.ndarray:
    """The scales as float16 holds them, so that they can be stored so; unchanged where that loses bits."""
    with np.errstate(over="ignore"):
        rounded = scales.astype(np.float16).astype(np.float32)
    exact = np.abs(rounded - scales) <= _HALF_STEP * np.abs(scales)
    return rounded if bool(exact.all()) else scales


def _quantise_blocks(blocks: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    half = 2 ** (bits - 1)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    reciprocal = np.divide(np.float32(1), extreme, out=np.zeros_like(extreme), where=extreme != 0)
    best_gain, best_inverse = np.full_like(extreme, -1), np.zeros_like(extreme)
    for share in _RANGES[bits]:
        # The largest value has the code -half, which has no opposite.
        inverse = reciprocal * np.float32(-half * share)
        gain = _gain(blocks, _nearest(blocks, inverse, half))[0]
        best_inverse = np.where(gain > best_gain, inverse, best_inverse)
        best_gain = np.maximum(gain, best_gain)
    codes = _nearest(blocks, best_inverse, half)
    return (codes + np.float32(half)).astype(np.uint8), _gain(blocks, codes)[1][..., 0]


def _nearest(blocks: np.ndarray, inverse: np.ndarray, half: int) -> np.ndarray:
    codes = blocks * inverse
    np.rint(codes, out=codes)
    return np.clip(codes, -half, half - 1, out=codes)


def _gain(blocks: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The reduction of the squared error of zeros that codes bring, and their least-squares scale."""
    products, power = _sum(blocks * codes), _sum(codes * codes)
    scales = np.divide(products, power, out=np.zeros_like(products), where=power != 0)
    return products * scales, scales


def _sum(values: np.ndarray) -> np.ndarray:
    """The sums over the last axis, whose length is a power of two: [..., n] to [..., 1]."""
    while values.shape[-1] > 1:
        middle = values.shape[-1] // 2
        values = values[..., :middle] + values[..., middle:]
    return values
