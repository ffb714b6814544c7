"""The clips and captions from which real inputs of the components are made (g4v.export.verify.samples)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g4v._files import sha256
from g4v.data.worlds import world
from g4v.errors import VideoError
from g4v.export.errors import ExportError
from g4v.video import read_video

_WORLD = "shapes"  # draws clips where the user names no videos: no video comes with the package
# Its name in the manifest; bundles keep that of the module that drew the clips when the format was made.
_DRAWN_BY = "g4v.data.shapes"
SEED = 20231125
DRAWN = 4  # clips
# Captions as people write them, beside those in the words of the world.
_EVERYDAY = (
    "a dog running on a beach at sunset, slow motion",
    "An astronaut rides a horse through a field of flowers. Mountains rise behind them; the camera follows.",
)


def check_videos(videos: Sequence[str | Path]) -> list[Path]:
    """Returns the paths of video files that can be read.

    ExportError: a file is missing, or has no frame that can be read.
    """
    paths = [Path(video) for video in videos]
    for path in paths:
        if not path.exists():
            raise ExportError(f"{path}: no such file (--calibration-video takes a video file)")
    if paths:  # without any, clips are drawn
        list(clips(paths, 1, 1))
    return paths


def about_clips(videos: Sequence[Path]) -> dict[str, Any]:
    """Returns what the manifest says of the clips: the files with their SHA-256, or how they were drawn."""
    if not videos:
        return {"clips": DRAWN, "drawn_by": _DRAWN_BY, "seed": SEED}
    return {"videos": [{"file": path.name, "sha256": sha256(path)} for path in videos]}


def clips(videos: Sequence[Path], frames: int, size: int, clean: bool = False) -> Iterator[np.ndarray]:
    """Yields a clip of each video, or without videos drawn clips: uint8 [frames, H, W, 3].

    videos: files, whose frames are chosen as the runtime chooses them.
    frames: number of frames of a clip.
    size: least edge of drawn clips, which are squares, in pixels.
    clean: drawn clips have no camera noise, as the video generator makes them.

    ExportError: a video cannot be read.
    """
    for path in videos:
        try:
            yield read_video(path, frames)[0]
        except VideoError as error:
            raise ExportError(str(error)) from None
    if not videos:
        yield from world(_WORLD).sample_clips(DRAWN, SEED, frames, size, clean)


def captions() -> list[str]:
    """Returns as many captions as there are drawn clips: of the world's scenes, and of everyday ones."""
    return [*world(_WORLD).sample_captions(DRAWN, SEED), *_EVERYDAY]


def resized(clip: np.ndarray, height: int, width: int) -> Tensor:
    """Crops a clip in the middle and resizes it for the VAE.

    clip: uint8 [T, H, W, 3]. Returns float32 [T, 3, height, width] with pixels in [-1, 1].
    """
    scale = max(height / clip.shape[1], width / clip.shape[2])
    rows, columns = round(height / scale), round(width / scale)
    top, left = (clip.shape[1] - rows) // 2, (clip.shape[2] - columns) // 2
    cut = np.ascontiguousarray(clip[:, top : top + rows, left : left + columns])
    pixels = torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 127.5 - 1
    pixels = torch.nn.functional.interpolate(pixels, (height, width), mode="bicubic", antialias=True)
    return pixels.clamp(-1, 1)
