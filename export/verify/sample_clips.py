"""The clips and captions that real inputs of the components are made from (g4v.export.verify.samples)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from g4v.errors import VideoError
from g4v.export.bundle.resume import file_entry
from g4v.export.errors import ExportError
from g4v.shapes.world.render import render
from g4v.shapes.world.world import Scene, caption, sample_scene
from g4v.video import read_video

SEED = 20231125
DRAWN = 4  # clips, every second one of things that are no shapes
# Captions as people write them, beside those in the words of the shapes world.
_EVERYDAY = (
    "a dog running on a beach at sunset, slow motion",
    "An astronaut rides a horse through a field of flowers. Mountains rise behind them; the camera follows.",
)


def check_videos(videos: Sequence[str | Path]) -> list[Path]:
    """The files by their paths; ExportError if one is missing or has no frame that can be read."""
    paths = [Path(video) for video in videos]
    for path in paths:
        if not path.exists():
            raise ExportError(f"{path}: no such file (--calibration-video takes a video file)")
    if paths:  # without any, clips are drawn
        list(clips(paths, 1, 1))
    return paths


def about_clips(videos: Sequence[Path]) -> dict[str, Any]:
    """What the manifest says of them: the files with their SHA-256, or how they were drawn."""
    if not videos:
        return {"clips": DRAWN, "drawn_by": "g4v.data.shapes", "seed": SEED}
    return {"videos": [{"file": path.name, "sha256": file_entry(path)["sha256"]} for path in videos]}


def clips(videos: Sequence[Path], frames: int, size: int, clean: bool = False) -> Iterator[np.ndarray]:
    """Frames of each video, uint8 [frames, H, W, 3], chosen as the runtime chooses them; without videos drawn
    ones, squares of at least `size` pixels. clean: without a camera's noise, as the video generator makes
    them. ExportError: a video that cannot be read.
    """
    for path in videos:
        try:
            yield read_video(path, frames)[0]
        except VideoError as error:
            raise ExportError(str(error)) from None
    if not videos:
        for number, scene in enumerate(_scenes()):
            scene = replace(scene, skull=scene.skull and not clean)
            yield render(scene, np.random.default_rng([SEED, number]), frames, -(-size // 8) * 8, clean)


def captions() -> list[str]:
    """Of the drawn shapes and of other things; as many as there are drawn clips."""
    shapes = [caption(scene) for scene in _scenes() if not scene.foreign]
    return [*shapes, *_EVERYDAY]


def _scenes() -> list[Scene]:
    rng = np.random.default_rng(SEED)
    found = [sample_scene(rng, "all", objects=1 + number // 2 % 2) for number in range(DRAWN)]
    found[0] = replace(found[0], skull=True)  # for the frame checker
    for number in range(1, DRAWN, 2):
        found[number] = Scene((), foreign=True)
    return found


def fitted(clip: np.ndarray, height: int, width: int) -> Tensor:
    """uint8 [T, H, W, 3] -> float32 [T, 3, height, width] in [-1, 1], cut in the middle to that shape."""
    scale = max(height / clip.shape[1], width / clip.shape[2])
    rows, columns = round(height / scale), round(width / scale)
    top, left = (clip.shape[1] - rows) // 2, (clip.shape[2] - columns) // 2
    cut = np.ascontiguousarray(clip[:, top : top + rows, left : left + columns])
    pixels = torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 127.5 - 1
    resized = torch.nn.functional.interpolate(pixels, (height, width), mode="bicubic", antialias=True)
    return resized.clamp(-1, 1)
