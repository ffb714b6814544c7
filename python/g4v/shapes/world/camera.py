"""What a camera and a video codec do to a drawn clip: noise and light block compression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DCT = np.array(
    [
        [np.sqrt((1 if k == 0 else 2) / 8) * np.cos(np.pi * k * (2 * n + 1) / 16) for n in range(8)]
        for k in range(8)
    ],
    np.float32,
)
_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], np.float32)
_FROM_YCC = np.linalg.inv(_TO_YCC).astype(np.float32)


def _compress(frames: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """Light block compression as video codecs do it: chroma at half size, 8x8 transform, coarse steps."""
    count, height, width, _ = frames.shape
    ycc = frames @ _TO_YCC.T
    chroma = ycc[..., 1:].reshape(count, height // 2, 2, width // 2, 2, 2).mean((2, 4))
    ycc[..., 1:] = chroma.repeat(2, 1).repeat(2, 2)
    blocks = ycc.reshape(count, height // 8, 8, width // 8, 8, 3).transpose(0, 1, 3, 5, 2, 4)
    weights = step * (1 + 0.35 * (np.arange(8)[:, None] + np.arange(8)[None, :])).astype(np.float32)
    coded = np.round((_DCT @ blocks @ _DCT.T) / weights) * weights
    decoded = (_DCT.T @ coded @ _DCT).transpose(0, 1, 4, 2, 5, 3).reshape(count, height, width, 3)
    return (decoded @ _FROM_YCC.T).astype(np.float32, copy=False)


def as_filmed(image: NDArray[np.float32], rng: np.random.Generator, clean: bool) -> NDArray[np.uint8]:
    """Pixels as bytes, with a camera's noise and light compression unless `clean`."""
    if not clean:
        image += rng.normal(0, rng.uniform(0, 0.025), image.shape).astype(np.float32)
        if rng.random() < 0.6:
            image = _compress(image, rng.uniform(0.02, 0.09))
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
