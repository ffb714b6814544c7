"""The processor's files of a SmolVLM2 checkpoint: how frames are taken, resized and normalised.

As transformers reads them: "video_processor" of processor_config.json, or else
video_preprocessor_config.json, or else preprocessor_config.json. Every key is obeyed, known to
change nothing here, or refused by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.model.bases.errors import CheckpointError

PROCESSOR_FILES = ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json")
_RESAMPLING = {1: "lanczos", 3: "bicubic"}  # Pillow's numbers
_NO_EFFECT = set(
    # Videos are read as RGB, in whole batches of one, and never cut into parts: do_image_splitting is for
    # images. Whether frames are sampled is said by who calls the processor; a chat always does.
    """
    do_convert_rgb do_pad do_sample_frames do_image_splitting return_row_col_info return_metadata
    return_tensors processor_class image_processor_type video_processor_type data_format input_data_format
    device disable_grouping default_to_square model_input_names
    """.split()
)
_ON = ("do_resize", "do_rescale", "do_normalize")
_OBEYED = set(
    "resample size max_image_size image_mean image_std rescale_factor fps num_frames video_sampling".split()
)
_MOST_EDGE = 4096  # of the processor, and of csrc/bundle/manifest_components.cc
_MOST_FRAMES = 1024  # as csrc/chat/options.h has it


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
    whole = read_json(folder / PROCESSOR_FILES[0], CheckpointError) if _has(folder, 0) else {}
    nested = whole.get("video_processor")
    if nested is not None:
        path, values = folder / PROCESSOR_FILES[0], nested
    else:
        found = [name for place, name in enumerate(PROCESSOR_FILES) if place and _has(folder, place)]
        if not found:
            raise CheckpointError(f"{folder}: none of {', '.join(PROCESSOR_FILES)} is there")
        path = folder / found[0]
        values = read_json(path, CheckpointError)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: video_processor is not an object")
    _check_keys(path, values)
    known = {"image_seq_len", "processor_class", "video_processor", "image_processor", "chat_template"}
    for key in sorted(set(whole) - known):
        raise CheckpointError(f"{folder / PROCESSOR_FILES[0]}: {key} = {whole[key]!r:.80} is not supported")
    sampling = values.get("video_sampling") or {}
    if not isinstance(sampling, dict) or set(sampling) - {"fps", "max_frames", "video_size"}:
        raise CheckpointError(f"{path}: video_sampling = {sampling!r:.80} is not supported")
    frames: Any = sampling.get("max_frames", values.get("num_frames"))
    fps: Any = sampling.get("fps", values.get("fps"))
    if type(frames) is not int or not 1 <= frames <= _MOST_FRAMES:
        raise CheckpointError(
            f"{path}: video_sampling.max_frames is {frames!r:.80}, not a number from 1 to {_MOST_FRAMES}"
        )
    if not _is_number(fps) or not 0 < fps <= 1000:
        raise CheckpointError(f"{path}: video_sampling.fps is {fps!r:.80}, not a number from 0 to 1000")
    size = values.get("size", sampling.get("video_size", {"longest_edge": 1456}))
    resample = values.get("resample", 1)
    if resample not in _RESAMPLING:
        kinds = ", ".join(f"{number} ({name})" for number, name in _RESAMPLING.items())
        raise CheckpointError(f"{path}: resample is {resample!r:.80}: only {kinds} can be used")
    tokens = whole.get("image_seq_len", 169)
    if type(tokens) is not int or tokens < 1:
        raise CheckpointError(f"{folder / PROCESSOR_FILES[0]}: image_seq_len is {tokens!r:.80}")
    return VideoProcessor(
        frames=frames,
        fps=float(fps),
        longest_edge=_edge(path, "size", size),
        size=_edge(path, "max_image_size", values.get("max_image_size", {"longest_edge": 364})),
        resampling=_RESAMPLING[resample],
        mean=_channels(path, "image_mean", values.get("image_mean", [0.5] * 3)),
        std=_channels(path, "image_std", values.get("image_std", [0.5] * 3), above=0),
        image_seq_len=tokens,
    )


def _has(folder: Path, place: int) -> bool:
    return (folder / PROCESSOR_FILES[place]).is_file()


def _check_keys(path: Path, values: dict[str, Any]) -> None:
    for key, kind in (
        ("video_processor_type", "SmolVLMVideoProcessor"),
        ("image_processor_type", "SmolVLMImageProcessor"),
    ):
        if values.get(key, kind) not in (kind, f"{kind}Fast"):
            raise CheckpointError(f"{path}: {key} is {values[key]!r:.80}: only {kind!r} can be used")
    for key in _ON:
        if values.get(key, True) is not True:
            raise CheckpointError(f"{path}: {key} = {values[key]!r:.80} is not supported, only true")
    factor = values.get("rescale_factor", 1 / 255)
    if not _is_number(factor) or not math.isclose(factor, 1 / 255, rel_tol=1e-6):
        raise CheckpointError(f"{path}: rescale_factor = {factor!r:.80} is not supported, only 1/255")
    for key, value in values.items():
        if key not in _OBEYED and key not in _NO_EFFECT and key not in _ON and value is not None:
            raise CheckpointError(f"{path}: {key} = {value!r:.80} is not supported")


def _edge(path: Path, name: str, value: Any) -> int:
    """The pixels of {"longest_edge": PIXELS}, the only form of a size that is read."""
    if not isinstance(value, dict) or set(value) != {"longest_edge"}:
        raise CheckpointError(f'{path}: {name} = {value!r:.80} is not supported, only {{"longest_edge": N}}')
    edge = value["longest_edge"]
    if type(edge) is not int or not 1 <= edge <= _MOST_EDGE:
        raise CheckpointError(
            f"{path}: {name}.longest_edge is {edge!r:.80}, not a number from 1 to {_MOST_EDGE}"
        )
    return edge


def _channels(path: Path, name: str, value: Any, above: float = -math.inf) -> list[float]:
    right = isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))
    if not right or not all(above < number and abs(number) <= 1e6 for number in value):
        raise CheckpointError(f"{path}: {name} is {value!r:.80}, not 3 numbers")
    return [float(number) for number in value]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
