"""Clips as frames: of video files, by the runtime's own rule and resize, and of the shapes world."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g4v.data.formats.videos import find_video
from g4v.errors import VideoError
from g4v.video import read_video


@dataclass(frozen=True)
class FileClip:
    """A video file, or the part of it between two times in seconds."""

    path: Path
    start: float | None = None
    end: float | None = None

    def read(self, frames: int) -> npt.NDArray[np.uint8]:
        """[frames, H, W, 3]; VideoError where the file is missing or not one frame decodes."""
        found = find_video(self.path)
        if found is None:
            raise VideoError(f"the video {self.path} is missing")
        span = None if self.start is None and self.end is None else (self.start or 0.0, self.end)
        return read_video(found, frames, span=span)[0]

    def key(self) -> str:
        """Changes when the file or the part changes; a file that is copied elsewhere is another one."""
        found = find_video(self.path)
        about = found.stat() if found else None
        size, time = (about.st_size, about.st_mtime_ns) if about else (0, 0)
        place = str((found or self.path).absolute())
        return _digest(place, size, time, self.start, self.end)


@dataclass(frozen=True)
class ShapesClip:
    """A scene of the shapes world, drawn with random numbers that follow from the seed."""

    scene: Any  # g4v.shapes.world.world.Scene
    seed: tuple[int, ...]

    def read(self, frames: int) -> npt.NDArray[np.uint8]:
        from g4v.shapes.world.render import render

        return render(self.scene, np.random.default_rng(self.seed), frames)

    def key(self) -> str:
        return _digest("shapes", self.scene, self.seed)


Clip = FileClip | ShapesClip


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True)
class FrameReader:
    """Clips -> what the encoder reads.

    size: pixels of the encoder's square. mean, std: of its normalised pixels, per channel.
    """

    frames: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, clip: Clip) -> npt.NDArray[np.float32]:
        """float32 [frames, 3, size, size], bit for bit what the runtime gives its encoder. VideoError."""
        from g4v import _core

        return _core.preprocess(clip.read(self.frames), self.size, list(self.mean), list(self.std))

    def blank(self) -> npt.NDArray[np.float32]:
        """What stands for a clip that cannot be read."""
        return np.zeros((self.frames, 3, self.size, self.size), np.float32)
