"""The quantised weights of a GGUF file as codes, scales and offsets, without storing them dequantised.

Every kind below stores a block as w = scale * q + minimum with small integers q. The kinds pack their q in
different orders, which the package gguf undoes when it dequantises a block: only scales and minima are read
here, and q is computed from them and the dequantised weights, some rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_SUPER = 256  # weights of one block of the K kinds
_ROWS = 1 << 20  # weights that are dequantised at once


@dataclass(frozen=True)
class BlockCodes:
    """A quantised matrix [out, in], with in = blocks * block: w = (code - 2^(bits - 1)) * scale + offset.

    codes: uint8 [out, blocks, block], one for each weight. scales: float32 [out, blocks]. offsets: float32
    [out, blocks], or None where all are zero. bits: 4 or 8. kind: GGUF's name of it, such as "Q4_1".
    """

    codes: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray | None
    bits: int
    kind: str


@dataclass(frozen=True)
class _Kind:
    block: int  # neighbours that share a scale
    bits: int  # of q
    scales: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]  # of stored blocks [n, bytes]


def _half(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data).view(np.float16).astype(np.float32)


def _plain(data: np.ndarray) -> tuple[np.ndarray, None]:
    return _half(data[:, :2]), None


def _with_minimum(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return _half(data[:, :2]), _half(data[:, 2:4])


def _k45(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from gguf.quants import Q4_K

    scales, minima = Q4_K.get_scale_min(np.ascontiguousarray(data[:, 4:16]))
    return _half(data[:, :2]) * scales.astype(np.float32), -_half(data[:, 2:4]) * minima.astype(np.float32)


def _k6(data: np.ndarray) -> tuple[np.ndarray, None]:
    scales = np.ascontiguousarray(data[:, 192:208]).view(np.int8).astype(np.float32)
    return _half(data[:, 208:210]) * scales, None


_KINDS = {
    "Q4_0": _Kind(32, 4, _plain),
    "Q4_1": _Kind(32, 4, _with_minimum),
    "Q5_0": _Kind(32, 5, _plain),
    "Q5_1": _Kind(32, 5, _with_minimum),
    "Q8_0": _Kind(32, 8, _plain),
    "Q4_K": _Kind(32, 4, _k45),
    "Q5_K": _Kind(32, 5, _k45),
    "Q6_K": _Kind(16, 6, _k6),
}


def bits_of_kind(kind: str) -> int | None:
    """Bits (4 or 8) of the codes for weights of a GGUF kind, such as "Q4_0"; None where it has no codes."""
    return None if kind not in _KINDS else 4 if _KINDS[kind].bits <= 4 else 8


def read_codes(tensor: Any) -> BlockCodes | None:
    """The codes of a tensor of a gguf.GGUFReader whose weights are [out, in].

    None where its kind has no codes, or where codes do not give back the weights to float32's rounding.
    """
    kind, bits = tensor.tensor_type.name, bits_of_kind(tensor.tensor_type.name)
    if bits is None or len(tensor.shape) != 2:
        return None
    columns, rows = (int(size) for size in tensor.shape)
    blocks = columns // _KINDS[kind].block
    codes = np.empty((rows, blocks, _KINDS[kind].block), np.uint8)
    scales = np.empty((rows, blocks), np.float32)
    offsets = np.zeros((rows, blocks), np.float32)
    count = max(1, _ROWS // columns)
    for start in range(0, rows, count):
        part = slice(start, min(start + count, rows))
        if not _read_rows(tensor, _KINDS[kind], part, bits, codes[part], scales[part], offsets[part]):
            return None
    return BlockCodes(codes, scales, offsets if offsets.any() else None, bits, kind)


def _read_rows(
    tensor: Any,
    kind: _Kind,
    rows: slice,
    bits: int,
    codes: np.ndarray,
    scales: np.ndarray,
    offsets: np.ndarray,
) -> bool:
    """Fills codes, scales and offsets of some rows; whether they give back the weights."""
    from gguf.constants import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    stored = np.ascontiguousarray(tensor.data[rows])
    values = dequantize(stored, tensor.tensor_type).astype(np.float32).reshape(codes.shape)
    _, size = GGML_QUANT_SIZES[tensor.tensor_type]
    found, minima = kind.scales(stored.reshape(-1, size))
    scales[:] = found.reshape(scales.shape)
    if minima is not None:  # zero is the middle of the codes, so that the offsets are small
        offsets[:] = minima.reshape(scales.shape) + scales * np.float32(2 ** (kind.bits - 1))
    half = 2 ** (bits - 1)
    with np.errstate(all="ignore"):  # a damaged file may hold numbers that are not finite
        inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
        steps = np.rint((values - offsets[..., None]) * inverse[..., None])
        np.clip(steps, -half, half - 1, out=steps)
        codes[:] = (steps + half).astype(np.uint8)
        again = steps * scales[..., None] + offsets[..., None]
        largest = np.abs(values).max(-1, keepdims=True) + np.abs(offsets)[..., None]
        return bool((np.abs(again - values) <= 4 * np.finfo(np.float32).eps * largest).all())
