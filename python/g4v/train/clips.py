"""Clips as frames: of video files, by the runtime's own rule and resize, and of synthetic worlds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g4v.data.formats.videos import find_video
from g4v.data.worlds import world
from g4v.errors import VideoError
from g4v.model.prompt import ClipTimes
from g4v.video import FrameSampling, VideoInfo, read_video, sample_frames

_LONGEST = 5  # times the frames of a clip that is sampled from a longer one


@dataclass(frozen=True)
class FileClip:
    """A video file, or the part of it between two times in seconds."""

    path: Path
    start: float | None = None
    end: float | None = None

    def read(self, frames: int) -> NDArray[np.uint8]:
        """uint8 [frames, H, W, 3]. VideoError: the file is missing, or not one frame decodes."""
        return self.load(FrameSampling(frames))[0]

    def load(self, sampling: FrameSampling) -> tuple[NDArray[np.uint8], VideoInfo]:
        """uint8 [T, H, W, 3], and what is known of the video. VideoError as of `read`."""
        found = find_video(self.path)
        if found is None:
            raise VideoError(f"the video {self.path} is missing")
        span = None if self.start is None and self.end is None else (self.start or 0.0, self.end)
        return read_video(found, sampling, span=span)

    def is_there(self) -> bool:
        """Whether there is such a file."""
        return find_video(self.path) is not None

    def key(self) -> str:
        """Changes when the file or the part changes; a file that is copied elsewhere is another one."""
        found = find_video(self.path)
        about = found.stat() if found else None
        size, time = (about.st_size, about.st_mtime_ns) if about else (0, 0)
        place = str((found or self.path).absolute())
        return _digest(place, size, time, self.start, self.end)

    def __str__(self) -> str:
        return f"the video {self.path}"


@dataclass(frozen=True)
class WorldClip:
    """A scene of a synthetic world (g4v.data.worlds), drawn with random numbers that follow from the seed.

    longer: probability that it is a longer clip, of up to five times as many frames, from which frames are
    sampled by the runtime's rule.
    """

    world: str
    scene: Any  # Turn.video of a dialogue of that world
    seed: tuple[int, ...]
    longer: float = 0.0

    def read(self, frames: int) -> NDArray[np.uint8]:
        """uint8 [frames, H, W, 3]."""
        rng = np.random.default_rng(self.seed)
        source = world(self.world)
        if self.longer and rng.random() < self.longer:
            count = int(rng.integers(frames + 1, _LONGEST * frames))
            return source.render(self.scene, rng, count)[sample_frames(count, frames)]
        return source.render(self.scene, rng, frames)

    def load(self, sampling: FrameSampling) -> tuple[NDArray[np.uint8], VideoInfo]:
        """uint8 [T, H, W, 3], T the most that are sampled: a scene has as many frames as one asks for."""
        pixels = self.read(sampling.frames)
        return pixels, VideoInfo(str(self), len(pixels), tuple(range(len(pixels))), None)

    def is_there(self) -> bool:
        """Whether it can be drawn: always."""
        return True

    def key(self) -> str:
        """Changes with everything that the frames follow from, but for their number."""
        return _digest(self.world, self.scene, self.seed, *([self.longer] if self.longer else []))

    def __str__(self) -> str:
        return "the scene"


Clip = FileClip | WorldClip


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


@lru_cache(maxsize=2)  # a row asks for the times of a clip first, and for its frames then
def _load(clip: Clip, sampling: FrameSampling) -> tuple[NDArray[np.uint8], VideoInfo]:
    return clip.load(sampling)


@dataclass(frozen=True)
class FrameReader:
    """Makes the encoder's input of clips.

    frames: sampled from each clip. size: pixels of the encoder's square. mean, std: per channel, of pixels
    from 0 to 1, that they are normalised with. sampling: how frames are taken of a clip, in place of
    `frames`, where each of them has tokens of its own. resizing: arguments of `_core.preprocess` beside
    these.
    """

    frames: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sampling: FrameSampling | None = None
    resizing: tuple[tuple[str, Any], ...] = ()

    def __call__(self, clip: Clip) -> NDArray[np.float32]:
        """float32 [T, 3, size, size], bit for bit what the runtime gives its encoder; T is `frames` unless
        there is a sampling. VideoError.
        """
        from g4v import _core

        pixels = clip.read(self.frames) if self.sampling is None else _load(clip, self.sampling)[0]
        return _core.preprocess(pixels, self.size, list(self.mean), list(self.std), **dict(self.resizing))

    def times(self, clip: Clip) -> ClipTimes:
        """When the frames of a clip are shown that the sampling takes, where there is one. VideoError."""
        assert self.sampling is not None
        pixels, info = _load(clip, self.sampling)
        return self.sampling.times(info) or ([0.0] * len(pixels), 0.0)

    def blank(self) -> NDArray[np.float32]:
        """Zeros of the same shape, in place of a clip that cannot be read."""
        return np.zeros((self.frames, 3, self.size, self.size), np.float32)
