"""What a LoRA adapter adds to a weight (Hu et al., 2022, arXiv 2106.09685)."""

from __future__ import annotations

import numpy as np


def lora_delta(a: np.ndarray, b: np.ndarray, scaling: float) -> np.ndarray:
    """Returns (B A) * scaling, float64 [out, in].

    a: [rank, in], b: [out, rank], of any floating type; they are multiplied in float64.
    scaling: lora_alpha over the rank (over its square root in rsLoRA), times the weight of the adapter.
    """
    delta: np.ndarray = b.astype(np.float64) @ a.astype(np.float64)
    delta *= scaling
    return delta
