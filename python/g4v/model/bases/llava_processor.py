"""The processor's settings of a LLaVA-NeXT-Video or Video-LLaVA checkpoint: how frames are taken, resized,
cropped and normalised, and what its tokens are called.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.llava_config import VIDEO_LLAVA, LlavaConfig
from g4v.model.bases.processor_files import (
    MOST_FRAMES,
    ProcessorFiles,
    edge_of,
    frame_count,
    frame_rate,
    read_processor_files,
)

# The class of the video processor, and those of image processors whose files were read for it.
_KINDS = {
    False: ("LlavaNextVideoVideoProcessor", "LlavaNextVideoImageProcessor", "LlavaNextImageProcessor"),
    True: ("VideoLlavaVideoProcessor", "VideoLlavaImageProcessor"),
}
_OBEYED = ("size", "do_center_crop", "crop_size")
_NO_EFFECT = ("image_grid_pinpoints", "aspect_ratio_setting", "pad_size", "return_legacy_image_output")
_WHOLE = (
    "patch_size",
    "video_token",
    "num_additional_image_tokens",
    "image_token",  # this one and the next are of still pictures
    "vision_feature_select_strategy",
)
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_FRAMES = 8  # that both were trained with, and that is sampled where no file says
_ROOM = 512  # tokens of the context that are left to words where a video's frames are counted by time


@dataclass(frozen=True)
class LlavaProcessor:
    """What becomes of a video before the tower sees it, and how it stands in a prompt.

    frames: that are taken; the most where there is an fps. fps: frames per second that are taken; None: as
    many of every video. shortest_edge: pixels, to which frames are resized before their middle is taken;
    None: they are resized to the tower's square at once. resampling: "lanczos" or "bicubic". mean, std: of
    pixels from 0 to 1, by channel. video_token: the text of the token that stands for a video.
    counted: video tokens of a frame that transformers' processor puts into a prompt.
    """

    frames: int
    fps: float | None
    shortest_edge: int | None
    resampling: str
    mean: list[float]
    std: list[float]
    video_token: str
    counted: int


def read_llava_processor(folder: Path, config: LlavaConfig, tokens: int) -> LlavaProcessor:
    """Reads the settings of a checkpoint's video processor, which must be made for the tower of `config`.

    tokens: video tokens of a frame. CheckpointError: there are none, or one is unknown or out of range, or
    disagrees with the tower; the message names it.
    """
    files = read_processor_files(folder)
    files.check(_KINDS[config.kind == VIDEO_LLAVA], _OBEYED, _NO_EFFECT)
    files.check_whole(_WHOLE)
    fps, frames = _sampling(files, config, tokens)
    return LlavaProcessor(
        frames=frames,
        fps=fps,
        shortest_edge=_shortest_edge(files, config.vision.image_size),
        resampling=files.resampling(3),
        mean=files.channels("image_mean", _CLIP_MEAN),
        std=files.channels("image_std", _CLIP_STD, above=0),
        video_token=_video_token(files),
        counted=_counted(files, config),
    )


def _sampling(files: ProcessorFiles, config: LlavaConfig, tokens: int) -> tuple[float | None, int]:
    path, fps, count = files.path, files.values.get("fps"), files.values.get("num_frames")
    if fps is not None and count is not None:
        raise CheckpointError(f"{path}: fps and num_frames are both there: the processor takes one alone")
    if fps is None:
        return None, frame_count(path, "num_frames", _FRAMES if count is None else count)
    room = (config.text.max_position_embeddings - _ROOM) // tokens
    return frame_rate(path, "fps", fps), max(1, min(room, MOST_FRAMES))


def _shortest_edge(files: ProcessorFiles, square: int) -> int | None:
    """The edge to which frames are resized before they are cropped; None where they become a square at once.

    square: edge of the tower's input, pixels.
    """
    path, values = files.path, files.values
    size, crop = values.get("size", {"shortest_edge": 224}), values.get("crop_size", 224)
    crops = values.get("do_center_crop", True)
    if not isinstance(crops, bool):
        raise CheckpointError(f"{path}: do_center_crop is {crops!r:.80}, not true or false")
    crop = {"height": crop, "width": crop} if type(crop) is int else crop
    size = {"shortest_edge": size} if type(size) is int else size
    if isinstance(size, dict) and set(size) == {"height", "width"}:
        edges = {edge_of(path, "size", size, key) for key in size}
        if edges != {square}:
            raise CheckpointError(
                f"{path}: size is {size!r:.80}, and the tower sees {square} x {square} pixels"
            )
        if crops:
            _check_crop(path, crop, square)
        return None
    if not isinstance(size, dict) or set(size) != {"shortest_edge"}:
        raise CheckpointError(
            f'{path}: size = {size!r:.80} is not supported, only {{"shortest_edge": N}} or '
            '{"height": N, "width": N}'
        )
    if not crops:
        raise CheckpointError(
            f"{path}: do_center_crop = False is not supported with a shortest_edge, which makes no squares"
        )
    _check_crop(path, crop, square)
    return edge_of(path, "size", size, "shortest_edge")


def _check_crop(path: Path, crop: Any, square: int) -> None:
    if crop != {"height": square, "width": square}:
        raise CheckpointError(
            f"{path}: crop_size is {crop!r:.80}, and the tower sees {square} x {square} pixels"
        )


def _video_token(files: ProcessorFiles) -> str:
    token = files.whole.get("video_token", "<video>")
    if not isinstance(token, str) or not token:
        raise CheckpointError(f"{files.place}: video_token is {token!r:.80}, not a text")
    return token


def _counted(files: ProcessorFiles, config: LlavaConfig) -> int:
    patch, own = files.whole.get("patch_size"), config.vision.patch_size
    is_video_llava = config.kind == VIDEO_LLAVA
    if patch is None and is_video_llava:
        patch = 14  # the class's default
    if patch not in (None, own):
        raise CheckpointError(
            f"{files.place}: patch_size is {patch!r:.80}, and vision_config.patch_size {own}"
        )
    patches = (config.vision.image_size // own) ** 2
    if not is_video_llava:
        return int(patches // 4)
    more = files.whole.get("num_additional_image_tokens", 1)
    if more != 1:
        raise CheckpointError(
            f"{files.place}: num_additional_image_tokens is {more!r:.80}, and the tower has 1 beside its "
            "patches"
        )
    return int(patches + 1)
