"""FP8 (E4M3): scales and codes of weights. The format has 4 bits of mantissa with the hidden one.

Micikevicius et al., "FP8 Formats for Deep Learning", 2022.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np

LARGEST = 448.0  # of E4M3


def weight_scales(weight: np.ndarray, axis: int) -> np.ndarray:
    """float16, one for each index of the axis of a float16 weight: its largest magnitude is `LARGEST`."""
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
