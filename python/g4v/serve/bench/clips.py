"""Small clips that questions are about."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from ..._encode import encode_video
from ...errors import VideoError


def made(count: int) -> list[str]:
    """Data URLs of clips of 8 frames of 64x64 pixels: a square that moves, in another colour in each."""
    found = []
    for k in range(count):
        frames = np.zeros((8, 64, 64, 3), np.uint8)
        colour = np.random.default_rng(k).integers(64, 256, 3, dtype=np.uint8)
        for n in range(8):
            frames[n, 20:40, 4 + 5 * n : 24 + 5 * n] = colour
        found.append(_url(encode_video(frames, 8.0, ".mp4")))
    return found


def of_file(path: Path) -> list[str]:
    """The data URL of a file. VideoError: it cannot be read."""
    try:
        return [_url(path.read_bytes())]
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}") from None


def _url(data: bytes) -> str:
    return f"data:video/mp4;base64,{base64.b64encode(data).decode('ascii')}"
