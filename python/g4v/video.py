"""Reading video: a few frames out of a file, bytes or an array, with bounded memory.

Which frames: of N frames the model sees S, chosen by the rule of `sample_frames` over the frame *index* (a
variable frame rate therefore changes nothing); a video of exactly S frames is taken whole. Only those S
frames are held; a long file is read by seeking to the key frames before them. Files above 256 MiB are not
read through first: there the place of a frame is computed from the duration, that is, evenly in time.

Which track: one that the file marks as default, else the largest; covers and thumbnails are none.

What a frame becomes: RGB in 8 bits by the file's colour matrix (wider samples are rounded, HDR is not
tone-mapped); turned upright where the file carries a rotation or a mirror; composited over black where it
has an alpha channel. Frames above 4096 x 2304 pixels are reduced to that area, so that eight frames never
hold more than 230 MB; smaller ones are handed over as they are, because the core's own resize is exact.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Union

import numpy as np
import numpy.typing as npt

from ._console import shown_path
from ._container import open_container, reason_of
from ._pixels import Frames
from ._sampling import (
    FrameSampling,
    VideoInfo,
    check_decoded_bytes,
    chosen_frames,
    sample_frames,
)
from .errors import ArgumentError, VideoError

__all__ = ["FrameSampling", "Frames", "Source", "VideoInfo", "chosen_frames", "read_video", "sample_frames"]

Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes], npt.NDArray[Any]]


def read_video(
    source: Source,
    frames: int | FrameSampling = 8,
    cancelled: Callable[[], bool] | None = None,
    span: tuple[float, float | None] | None = None,
    max_decoded_bytes: int = 0,
) -> tuple[Frames, VideoInfo]:
    """Sampled frames of a video, and what was read.

    Args:
        source: a path, the bytes of a file, a binary file object, or frames as a uint8 array [T, H, W, 3].
        frames: number of frames to sample, by the rule of `chosen_frames`; or another rule.
        cancelled: called between packets; `Cancelled` is raised once it returns True.
        span: start and end, in seconds, of the part of a file to sample from; an end of None is the file's.
        max_decoded_bytes: of the frames that are returned; 0 for no limit. More are refused before there is
            memory for them.

    Returns:
        The frames, uint8 [T, H, W, 3] in RGB, T as the rule says, and a `VideoInfo`.

    Raises:
        VideoError: the video cannot be read; one sentence names the file, the fault and what to do.
        ArgumentError: the source is of another type, or a span was given for an array.
        Cancelled: as `cancelled` said.
    """
    sampling = frames if isinstance(frames, FrameSampling) else FrameSampling(frames)
    if isinstance(source, np.ndarray) or (hasattr(source, "__array__") and hasattr(source, "shape")):
        if span is not None:
            raise ArgumentError("a span in seconds needs a video file; slice the array instead")
        return _sample_array(np.asarray(source), sampling, max_decoded_bytes)
    from ._decode import Reader

    with _byte_stream(source) as (file, name):
        size = file.seek(0, io.SEEK_END)
        if size == 0:
            raise VideoError(f"{name} is empty (0 bytes); pass a video file")
        reader = Reader(
            lambda: open_container(file, name), name, size, sampling, cancelled, span, max_decoded_bytes
        )
        with reader:
            return reader.read()


def _sample_array(
    video: npt.NDArray[Any], sampling: FrameSampling, max_decoded_bytes: int
) -> tuple[Frames, VideoInfo]:
    if video.dtype != np.uint8:
        raise VideoError(f"the video array has dtype {video.dtype}; pass uint8 RGB values from 0 to 255")
    if video.ndim != 4 or video.shape[3] != 3:
        hint = "; pass array[None] for a single frame" if video.ndim == 3 and video.shape[-1] == 3 else ""
        raise VideoError(f"the video array has shape {list(video.shape)}; it must be [T, H, W, 3]{hint}")
    if 0 in video.shape:
        raise VideoError(f"the video array is empty (shape {list(video.shape)}); pass at least one frame")
    indices = sampling.choose(len(video), None)
    check_decoded_bytes("the video array", (len(indices), *video.shape[1:]), max_decoded_bytes)
    return np.ascontiguousarray(video[indices]), VideoInfo("the video", len(video), tuple(indices), None)


@contextmanager
def _byte_stream(source: Source) -> Iterator[tuple[IO[bytes], str]]:
    """A seekable binary stream of the source, and its name for messages."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source), "the video"
    elif isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        name = shown_path(path)
        with _open_file(path, name) as file:
            yield file, name
    elif hasattr(source, "read"):
        label = getattr(source, "name", None)
        with _seekable(source) as file:
            yield file, shown_path(label) if isinstance(label, str) else "the video"
    else:
        raise ArgumentError(
            f"a video is a path, bytes, a binary file or a uint8 array [T, H, W, 3], "
            f"not {type(source).__name__}"
        )


def _open_file(path: str, name: str) -> IO[bytes]:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise VideoError(f"{name} is a directory; pass a video file")
        if not stat.S_ISREG(mode):
            raise VideoError(f"{name} is not a regular file; pass a video file, or its bytes")
        return open(path, "rb")
    except FileNotFoundError:
        raise VideoError(f"{name}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise VideoError(
            f"{name} cannot be read: {reason_of(error)}; check the path and its rights"
        ) from None


@contextmanager
def _seekable(source: Any) -> Iterator[IO[bytes]]:
    """The file object itself where it can seek, else a temporary copy of what it yields."""
    try:
        if not isinstance(source.read(0), bytes):
            raise VideoError("the video file is open in text mode; open it with mode 'rb'")
        seekable = source.seekable()
    except (AttributeError, OSError, ValueError) as error:
        raise VideoError(f"the video file object cannot be read: {reason_of(error)}") from None
    if seekable:
        yield source
        return
    with tempfile.TemporaryFile() as copy:
        while block := source.read(1 << 20):
            copy.write(block)
        yield copy
