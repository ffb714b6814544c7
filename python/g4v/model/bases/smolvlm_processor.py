"""The processor's settings of a SmolVLM2 checkpoint: how frames are taken, resized and normalised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.processor_files import edge_of, frame_count, frame_rate, read_processor_files

_KINDS = ("SmolVLMVideoProcessor", "SmolVLMImageProcessor")
_OBEYED = ("size", "max_image_size", "video_sampling")
_NO_EFFECT = ("do_image_splitting", "return_row_col_info")  # of images


@dataclass(frozen=True)
class VideoProcessor:
    """What becomes of a video before the tower sees it.

    frames: the most that are taken. fps: frames per second that are taken. skip_seconds: left out at both
    ends of a long video. longest_edge: pixels, to which frames are resized first. size: edge of the square
    that they are resized to then, pixels. resampling: "lanczos" or "bicubic". mean, std: of pixels from 0 to
    1, by channel. image_seq_len: video tokens of a frame.
    """

    frames: int
    fps: float
    longest_edge: int
    size: int
    resampling: str
    mean: list[float]
    std: list[float]
    image_seq_len: int
    skip_seconds: float = 1.0  # an argument's default in transformers, which no file has


def read_video_processor(folder: Path) -> VideoProcessor:
    """Reads the settings of a checkpoint's video processor.

    CheckpointError: there are none, or one is unknown or out of range; the message names it.
    """
    files = read_processor_files(folder)
    path, values = files.path, files.values
    files.check(_KINDS, _OBEYED, _NO_EFFECT)
    files.check_whole(["image_seq_len"])
    sampling = values.get("video_sampling") or {}
    if not isinstance(sampling, dict) or set(sampling) - {"fps", "max_frames", "video_size"}:
        raise CheckpointError(f"{path}: video_sampling = {sampling!r:.80} is not supported")
    frames = sampling.get("max_frames", values.get("num_frames"))
    size = values.get("size", sampling.get("video_size", {"longest_edge": 1456}))
    tokens = files.whole.get("image_seq_len", 169)
    if type(tokens) is not int or tokens < 1:
        raise CheckpointError(f"{files.place}: image_seq_len is {tokens!r:.80}")
    return VideoProcessor(
        frames=frame_count(path, "video_sampling.max_frames", frames),
        fps=frame_rate(path, "video_sampling.fps", sampling.get("fps", values.get("fps"))),
        longest_edge=_edge(path, "size", size),
        size=_edge(path, "max_image_size", values.get("max_image_size", {"longest_edge": 364})),
        resampling=files.resampling(1),
        mean=files.channels("image_mean", [0.5] * 3),
        std=files.channels("image_std", [0.5] * 3, above=0),
        image_seq_len=tokens,
    )


def _edge(path: Path, name: str, value: Any) -> int:
    """The pixels of {"longest_edge": PIXELS}, the only form of a size that is read."""
    if not isinstance(value, dict) or set(value) != {"longest_edge"}:
        raise CheckpointError(f'{path}: {name} = {value!r:.80} is not supported, only {{"longest_edge": N}}')
    return edge_of(path, name, value, "longest_edge")
