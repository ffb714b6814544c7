"""Which frames of a video the model sees, and what is known of a video that was read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError, VideoError

Frames = npt.NDArray[np.uint8]
"""Frames of a video, uint8 [T, H, W, 3] in RGB."""


@dataclass(frozen=True)
class VideoInfo:
    """What `read_video` has read.

    Attributes:
        name: the file, or "the video" where it has no name.
        frame_count: number of frames of the whole video.
        indices: the frames that were taken, in order, with repeats.
        fps: average frames per second; None where unknown.
        warnings: one sentence each, about damage that was found.
    """

    name: str
    frame_count: int
    indices: tuple[int, ...]
    fps: float | None
    warnings: tuple[str, ...] = ()


def sample_frames(count: int, samples: int) -> list[int]:
    """Indices of `samples` frames, evenly spread over a video of `count` frames.

    The i-th index is int(step / 2) + round(step * i), at most count - 1, with step = (count - 1) / samples.
    Ties round to even; a video with fewer frames than samples repeats some. The core has the same rule
    (csrc/video/preprocess.h).

    Raises `VideoError` where count is below 1, `ArgumentError` where samples is below 1.
    """
    if samples < 1:
        raise ArgumentError(f"the number of frames to sample is {samples}; it must be at least 1")
    if count < 1:
        raise VideoError("the video has no frames")
    step = (count - 1) / samples
    return [min(int(step / 2) + round(step * i), count - 1) for i in range(samples)]


def check_decoded_bytes(name: str, shape: tuple[int, ...], most: int) -> None:
    """Raises `VideoError` where frames [T, H, W, 3] have more than `most` bytes; 0 is no limit."""
    size = math.prod(shape)
    if 0 < most < size:
        count, height, width = shape[:3]
        raise VideoError(
            f"{name}: the {count} frames of {width}x{height} to look at take {size} bytes, and "
            f"max_decoded_bytes is {most}; look at fewer frames or pass a smaller video"
        )


def chosen_frames(count: int, samples: int) -> list[int]:
    """Returns the indices of `sample_frames`; of a video with exactly that many frames, all of them."""
    return list(range(count)) if count == samples else sample_frames(count, samples)
