"""Sizes that the components of a text-to-video model share."""

from __future__ import annotations

from typing import Any

from g4v.export.checkpoint.captions import read_captions
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.video_sizes import latent_frames, vae_scale
from g4v.export.components.profile import DimensionRange, ShapeProfile


def text_length(checkpoint: Checkpoint) -> int:
    """Tokens to which a text is cut and padded (`read_captions`)."""
    return read_captions(checkpoint.parts["t2v"]).length


def text_profile(checkpoint: Checkpoint) -> ShapeProfile:
    """One text, or two for guidance, of up to all positions."""
    length = text_length(checkpoint)
    return {"batch": DimensionRange(1, 2, 2), "length": DimensionRange(1, length, length)}


def video_profile(checkpoint: Checkpoint, height: str, width: str) -> ShapeProfile:
    """Latents of videos of the run's own size, and of up to its own number of frames. height, width: names of
    the dimensions.
    """
    video: dict[str, Any] = checkpoint.about["generation"].get("video", {})
    folder = checkpoint.parts["t2v"]
    frames, scale = latent_frames(folder, int(video.get("frames", 8))), vae_scale(folder)
    sides = ((height, "height"), (width, "width"))
    return {
        "frames": DimensionRange(1, frames, frames),
        **{name: DimensionRange.fixed(max(1, int(video.get(key, 64)) // scale)) for name, key in sides},
    }
