"""The video, or the picture, that another video is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._runtime import import_core
from .errors import ArgumentError
from .events import Video
from .video import read_video

if TYPE_CHECKING:
    from ._pixels import Frames
    from .video import Source


def read_source(
    source: Source | Video,
    frames: int,
    height: int,
    width: int,
    max_decoded_bytes: int,
    picture: bool = False,
) -> tuple[Frames, tuple[str, ...]]:
    """Reads what a video of `frames` frames of height x width pixels is made from.

    source: frames as a uint8 array [T, H, W, 3], or [H, W, 3] for a picture, are taken as they are: the core
        refuses other sizes. A `Video` that was made is resized. Of anything else that `read_video` reads, a
        file of one frame is a picture; of others `frames` frames are sampled, by the rule of
        `sample_frames`. They are resized to the size of the video with Pillow's Lanczos, without keeping the
        aspect ratio.
    max_decoded_bytes: as for `read_video`.
    picture: one frame of a file is taken, whatever it is.

    Returns the frames, uint8 [T or 1, H, W, 3], and what is to be told of a damaged file.
    VideoError: the file cannot be read. ArgumentError: the source is of another type or shape.
    """
    if isinstance(source, np.ndarray) or (hasattr(source, "__array__") and hasattr(source, "shape")):
        return _array(np.asarray(source)), ()
    warnings: tuple[str, ...] = ()
    if isinstance(source, Video):
        pixels = source.frames
    else:
        pixels, info = read_video(source, 1 if picture else frames, max_decoded_bytes=max_decoded_bytes)
        pixels, warnings = pixels[:1] if info.frame_count == 1 else pixels, info.warnings
    if pixels.shape[1:3] != (height, width):
        pixels = import_core().resize_frames(pixels, height, width)
    return pixels, warnings


def _array(array: np.ndarray[Any, Any]) -> Frames:
    if array.ndim == 3 and array.shape[2] == 3:
        array = array[None]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or 0 in array.shape:
        raise ArgumentError(
            f"video is an array of {array.dtype} with the shape {list(array.shape)}; it must be uint8 "
            "[T, H, W, 3], or [H, W, 3] for a picture"
        )
    return np.ascontiguousarray(array)
