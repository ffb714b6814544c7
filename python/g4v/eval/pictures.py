"""Frames brought to the size that a feature network reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]


def resize(frames: Frames, height: int, width: int) -> Frames:
    """uint8 [n, H, W, 3] to [n, height, width, 3], bicubic by FFmpeg's scaler; equal sizes are left alone."""
    if frames.shape[1:3] == (height, width):
        return frames
    from av import VideoFrame
    from av.video.reformatter import Interpolation

    out = np.empty((len(frames), height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        out[i] = picture.reformat(width, height, interpolation=Interpolation.BICUBIC).to_ndarray()
    return out


def crop_to(frames: Frames, side: int) -> Frames:
    """The shorter edge brought to `side`, then the middle square: uint8 [n, side, side, 3], as CLIP does."""
    height, width = frames.shape[1:3]
    scale = side / min(height, width)
    high, wide = max(side, round(height * scale)), max(side, round(width * scale))
    scaled = resize(frames, high, wide)
    top, left = (high - side) // 2, (wide - side) // 2
    return scaled[:, top : top + side, left : left + side]
