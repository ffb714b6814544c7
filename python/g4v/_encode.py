"""Writes video files: encoded in memory, written under a temporary name beside the target, then renamed.

A file that exists is replaced in one step; after any failure neither a part of a file nor the temporary one
is left behind.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._files import atomic
from ._forks import forks_wait
from ._palette import pictures, with_palette
from .errors import ArgumentError, OutputError

Frames = npt.NDArray[np.uint8]

# Per suffix: the container, and the encoders in the order of preference with their pixel format and options.
# The quality is high because the clips are short and small; mpeg4 is in every FFmpeg, H.264 is not.
_FORMATS: dict[str, tuple[str, tuple[tuple[str, str, dict[str, str]], ...]]] = {
    ".mp4": (
        "mp4",
        (
            # Without mbtree: with it x264's AVX-512 code gave other bytes for the same small frames now and
            # then; the same clip is to be the same file.
            (
                "libx264",
                "yuv420p",
                {"crf": "12", "preset": "medium", "x264-params": "log-level=none:mbtree=0"},
            ),
            ("libopenh264", "yuv420p", {"b": "4M"}),
            ("mpeg4", "yuv420p", {"b": "4M"}),
        ),
    ),
    ".webm": (
        "webm",
        (
            ("libvpx-vp9", "yuv420p", {"crf": "12", "b": "0", "deadline": "good", "cpu-used": "4"}),
            ("libvpx", "yuv420p", {"crf": "8", "b": "4M", "deadline": "good", "cpu-used": "4"}),
        ),
    ),
    ".gif": ("gif", (("gif", "pal8", {}),)),
}

SUFFIXES = tuple(_FORMATS)


def available_encoders() -> dict[str, str | None]:
    """Returns suffix -> name of the encoder that this PyAV has for it, or None where it has none."""
    import av

    found: dict[str, str | None] = {}
    for suffix, (_, encoders) in _FORMATS.items():
        found[suffix] = next((name for name, *_ in encoders if name in av.codecs_available), None)
    return found


def save_video(path: str | os.PathLike[str], frames: Frames, fps: float, title: str = "") -> Path:
    """Writes a video as .mp4 (H.264, yuv420p), .webm (VP9) or .gif, whole or not at all; returns the path.

    An odd width or height gains one repeated column or row, which yuv420p needs.

    Args:
        path: its suffix names the format.
        frames: uint8 [T, H, W, 3], RGB.
        fps: frames per second, above 0 and below 1000.
        title: goes into the file's metadata.

    Raises:
        ArgumentError: another suffix, array or frame rate.
        OutputError: the file cannot be written, or there is no encoder for the format.
    """
    target = Path(path)
    if target.suffix.lower() not in _FORMATS:
        raise ArgumentError(
            f"{target}: the name of a video ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        )
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ArgumentError(f"frames are a uint8 array [T, H, W, 3], not {frames.dtype} {list(frames.shape)}")
    if not 0 < fps < 1000:
        raise ArgumentError(f"fps is {fps}; it must be above 0 and below 1000")
    write_file(target, encode_video(frames, fps, target.suffix.lower(), title))
    return target


def write_file(path: Path, data: bytes) -> None:
    """Writes a whole file or none, into a folder that exists. Raises `OutputError`."""
    if not path.parent.exists():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    with atomic(path) as temporary:
        try:
            with open(temporary, "wb") as file:
                file.write(data)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {_advice(error)}") from None


def check_folder(folder: str | os.PathLike[str]) -> Path:
    """Makes the folder where it is missing and proves that files can be written there, or `OutputError`."""
    place = Path(folder)
    missing = [p for p in (place, *place.parents) if not p.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe = place / f".g4v-{secrets.token_hex(4)}.tmp"
        try:
            with open(probe, "xb") as file:
                file.write(b"g4v")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        for made in missing:
            if made.is_dir():
                made.rmdir()
        raise OutputError(f"the folder {place} cannot be written: {_advice(error)}") from None
    return place


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space or name another folder"
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return "it is a file, or below one; name a folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "no permission; name a folder that you may write to"
    reason = error.strerror or str(error)
    return f"{reason}; name another folder"


def encode_video(frames: Frames, fps: float, suffix: str, title: str = "") -> bytes:
    """The bytes of a video file of the format that `suffix` (".mp4") names.

    frames: uint8 [T, H, W, 3], RGB. Raises `OutputError` where this PyAV has no encoder that works.
    """
    try:
        import av
    except ImportError as error:
        raise OutputError(f"PyAV cannot be loaded ({error}); install it with: pip install av") from None

    container, encoders = _FORMATS[suffix]
    if suffix != ".gif":
        height, width = frames.shape[1:3]
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    others = " or ".join(other for other in SUFFIXES if other != suffix)
    for name, pixels, options in encoders:
        if name not in av.codecs_available:
            continue
        rate = Fraction(fps).limit_denominator(1001)
        # What this PyAV has is used or fails: the next one would be of another quality, unasked, where
        # memory is short. Encoders tell that in many ways: x264 as "generic error in an external library".
        try:
            with forks_wait:
                return _encode(frames, rate, container, name, pixels, options, title)
        except (MemoryError, BlockingIOError):  # the latter: no thread can be started
            raise OutputError(f"{name}, the encoder for {suffix}, has not enough memory") from None
        except (av.FFmpegError, ValueError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise OutputError(
                f"{name}, the encoder for {suffix}, fails, maybe for want of memory: {reason}; "
                f"free some, or save as {others}"
            ) from None
    names = ", ".join(name for name, *_ in encoders)
    raise OutputError(f"this PyAV has no encoder for {suffix} ({names}); save as {others}")


def _encode(
    frames: Frames,
    rate: Fraction,
    container: str,
    codec: str,
    pixels: str,
    options: dict[str, str],
    title: str,
) -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, mode="w", format=container) as output:
        if title:
            output.metadata["title"] = title
        output.metadata["comment"] = "generated by g4v"
        stream: Any = output.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.options = dict(options)
        for picture in (with_palette if pixels == "pal8" else pictures)(frames, rate):
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return file.getvalue()
