"""Reading video: a few frames out of a file, bytes or an array, with bounded memory.

Which frames: of N frames the model sees S, chosen by the rule of `sample_frames` over the frame *index* (a
variable frame rate therefore changes nothing); a video of exactly S frames is taken whole. Only those S
frames are held; a long file is read by seeking to the key frames before them. Files above 256 MiB are not
read through first: there the place of a frame is computed from the duration, that is, evenly in time.

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
from typing import IO, TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from ._console import shown_path
from ._sampling import Frames, VideoInfo, chosen_frames, sample_frames
from .errors import ArgumentError, VideoError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["Frames", "Source", "VideoInfo", "chosen_frames", "read_video", "sample_frames"]

Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes], npt.NDArray[Any]]

MAX_FRAME_PIXELS = 8192 * 8192
"""Larger frames are refused before they are decoded."""

# Demuxers of files that hold their own pictures. Playlists (hls, concat, dash) are left out because they make
# the reader open other files or the network, and tty because it turns any text into a film. Sound formats are
# in, so that a song is refused for what it is.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h263,h264,hevc,vvc,av1,obu,ivf,flv,"
    "asf,ogg,nut,mxf,dv,rm,wtv,yuv4mpegpipe,gif,apng,mjpeg,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,"
    "mp3,wav,flac,aac,aiff,caf,w64,ac3,eac3,amr,tta,wv"
)


def read_video(
    source: Source,
    frames: int = 8,
    cancelled: Callable[[], bool] | None = None,
    span: tuple[float, float | None] | None = None,
) -> tuple[Frames, VideoInfo]:
    """Sampled frames of a video, and what was read.

    Args:
        source: a path, the bytes of a file, a binary file object, or frames as a uint8 array [T, H, W, 3].
        frames: number of frames to sample, by the rule of `chosen_frames`.
        cancelled: called between packets; `Cancelled` is raised once it returns True.
        span: start and end, in seconds, of the part of a file to sample from; an end of None is the file's.

    Returns:
        The frames, uint8 [frames, H, W, 3] in RGB, and a `VideoInfo`.

    Raises:
        VideoError: the video cannot be read; one sentence names the file, the fault and what to do.
        ArgumentError: the source is of another type, or a span was given for an array.
        Cancelled: as `cancelled` said.
    """
    if isinstance(source, np.ndarray) or (hasattr(source, "__array__") and hasattr(source, "shape")):
        if span is not None:
            raise ArgumentError("a span in seconds needs a video file; slice the array instead")
        return _sample_array(np.asarray(source), frames)
    from ._decode import Reader

    with _byte_stream(source) as (file, name):
        size = file.seek(0, io.SEEK_END)
        if size == 0:
            raise VideoError(f"{name} is empty (0 bytes); pass a video file")
        with Reader(lambda: _open(file, name), name, size, frames, cancelled, span) as reader:
            return reader.read()


def _sample_array(video: npt.NDArray[Any], samples: int) -> tuple[Frames, VideoInfo]:
    if video.dtype != np.uint8:
        raise VideoError(f"the video array has dtype {video.dtype}; pass uint8 RGB values from 0 to 255")
    if video.ndim != 4 or video.shape[3] != 3:
        hint = "; pass array[None] for a single frame" if video.ndim == 3 and video.shape[-1] == 3 else ""
        raise VideoError(f"the video array has shape {list(video.shape)}; it must be [T, H, W, 3]{hint}")
    if 0 in video.shape:
        raise VideoError(f"the video array is empty (shape {list(video.shape)}); pass at least one frame")
    indices = chosen_frames(len(video), samples)
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
        raise VideoError(f"{name} cannot be read: {_reason(error)}; check the path and its rights") from None


@contextmanager
def _seekable(source: Any) -> Iterator[IO[bytes]]:
    """The file object itself where it can seek, else a temporary copy of what it yields."""
    try:
        if not isinstance(source.read(0), bytes):
            raise VideoError("the video file is open in text mode; open it with mode 'rb'")
        seekable = source.seekable()
    except (AttributeError, OSError, ValueError) as error:
        raise VideoError(f"the video file object cannot be read: {_reason(error)}") from None
    if seekable:
        yield source
        return
    with tempfile.TemporaryFile() as copy:
        while block := source.read(1 << 20):
            copy.write(block)
        yield copy


def _open(file: IO[bytes], name: str) -> tuple[InputContainer, VideoStream]:
    """The container, from its first byte on, and the stream to decode."""
    try:
        import av
    except ImportError as error:
        raise VideoError(f"PyAV cannot be loaded ({error}); install it with: pip install av") from None

    file.seek(0)
    options = {"format_whitelist": _FORMATS}
    try:
        container = av.open(file, mode="r", options=options, metadata_errors="ignore", buffer_size=1 << 16)
    except av.error.EOFError:
        raise VideoError(f"{name} has no frames: it ends before the first one; pass another file") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"{name} cannot be opened as a video: it is no video file, or it was cut off before its index "
            f"({_reason(error)}); pass a file that a player can show"
        ) from None
    try:
        return container, _video_stream(container, name)
    except BaseException:
        container.close()
        raise


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    from av.stream import Disposition

    # A cover picture is stored as a video stream too.
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        if container.streams.audio:
            raise VideoError(f"{name} holds sound but no picture; pass a file with a video track")
        raise VideoError(f"{name} has no video track and so not one frame; pass another file")
    stream = streams[0]
    context = stream.codec_context
    if context is None:
        raise VideoError(f"{name} is coded in a way this FFmpeg cannot decode; convert it to H.264")
    if context.width * context.height > MAX_FRAME_PIXELS:
        raise VideoError(
            f"{name} has frames of {context.width} x {context.height} pixels; at most 8192 x 8192 are read"
        )
    # The header may lie about the size; the decoder holds to the same limit.
    context.options = {**(context.options or {}), "max_pixels": str(MAX_FRAME_PIXELS)}
    context.thread_type = "AUTO"
    # More threads hold more frames at once and gain little for so few frames.
    context.thread_count = min(4, os.cpu_count() or 1)
    return stream
