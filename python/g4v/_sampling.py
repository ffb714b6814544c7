"""Which frames of a video the model sees, and what is known of a video that was read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import ArgumentError, VideoError


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


ASSUMED_RATE = 24.0
"""Frames per second of a video that does not say it, as the core takes them (csrc/video/frames.h)."""


@dataclass(frozen=True)
class FrameSampling:
    """Which frames of a video the model sees.

    Without `fps`, `frames` of them by the rule of `chosen_frames`, whatever the video's length. With it, as
    SmolVLM2's processor takes them: round(fps * duration), at least 1 and at most `frames`, from the first
    frame to the last at even distances; a video longer than frames * fps + 2 * skip_seconds loses
    `skip_seconds` at both ends first. (That product is the processor's, though it is no time.)

    With the rule "floor", as transformers takes them where a processor has no rule of its own: frame i of n
    is floor(i * count / n), where n is `frames`, or with `fps` int(fps * duration), at least 1 and at most
    `frames`; never more than the video has.

    Attributes:
        frames: how many, or the most, at least 1.
        fps: frames per second of the video's own time, above 0; None for a fixed number.
        skip_seconds: see above; 0 where nothing is left out.
        rule: "spread" or "floor".
    """

    frames: int
    fps: float | None = None
    skip_seconds: float = 0.0
    rule: str = "spread"

    def choose(self, count: int, rate: float | None) -> list[int]:
        """Indices of the frames to take, in order.

        Args:
            count: frames of the video.
            rate: its frames per second; None where unknown: its length then does not count, and at most
                `frames` are taken.

        Raises `VideoError` where count is below 1, `ArgumentError` where `frames` is below 1.
        """
        if self.fps is None and self.rule == "spread":
            return chosen_frames(count, self.frames)
        if self.frames < 1:
            raise ArgumentError(f"the number of frames to sample is {self.frames}; it must be at least 1")
        if count < 1:
            raise VideoError("the video has no frames")
        if self.rule == "floor":
            return _floor(count, min(self.frames, self._by_time(count, rate)))
        assert self.fps is not None
        if rate is None:
            return _spread(0, count - 1, min(self.frames, count))
        duration = count / rate
        start, end = 0, count - 1
        if self.skip_seconds > 0 and duration - 2 * self.skip_seconds > self.frames * self.fps:
            start = int(self.skip_seconds * rate)
            end = min(int(count - self.skip_seconds * rate), count - 1)
        if start >= end:
            start, end = 0, count - 1
        return _spread(start, end, max(1, min(round(self.fps * duration), self.frames)))

    def check(self, name: str, shape: tuple[int, ...], max_bytes: int) -> None:
        """Raises `VideoError` where the chosen frames [T, H, W, 3] have more bytes than they may; 0: any."""
        check_decoded_bytes(name, shape, max_bytes)

    def _by_time(self, count: int, rate: float | None) -> int:
        """How many frames the rule "floor" takes of a video, but for the limit of `frames`."""
        if self.fps is None or rate is None:
            return count
        return max(1, min(count, int(count / rate * self.fps)))

    def times(self, info: VideoInfo) -> tuple[list[float], float] | None:
        """When the frames of a video that was read are shown, and how long it is, in seconds; None without
        `fps`, where nobody asks for it.
        """
        if self.fps is None:
            return None
        rate = info.fps or ASSUMED_RATE
        return [index / rate for index in info.indices], info.frame_count / rate


@dataclass(frozen=True)
class EveryFrame(FrameSampling):
    """All frames of a video.

    Attributes:
        max_pixels: frames x height x width that the video may have; 0 for any number.
    """

    frames: int = 1
    max_pixels: int = 0

    def choose(self, count: int, rate: float | None) -> list[int]:
        return list(range(count))

    def check(self, name: str, shape: tuple[int, ...], max_bytes: int) -> None:
        count, height, width = shape[:3]
        if 0 < self.max_pixels < count * height * width:
            raise VideoError(
                f"{name} has {count} frames of {width}x{height}, and max_video_pixels is {self.max_pixels}; "
                "ask for fewer or smaller frames"
            )


def _floor(count: int, samples: int) -> list[int]:
    """The core has the same rule (csrc/video/preprocess.h)."""
    return [place * count // samples for place in range(samples)]


def _spread(start: int, end: int, samples: int) -> list[int]:
    """Distinct indices from start to end at even distances, rounded down."""
    step = (end - start) / (samples - 1) if samples > 1 else 0.0
    indices = [math.floor(place * step + start) for place in range(samples)]
    if samples > 1:
        indices[-1] = end
    return list(dict.fromkeys(indices))


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
