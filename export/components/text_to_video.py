"""Sizes that the components of a text-to-video model share."""

from __future__ import annotations

from typing import Any

from g4v._files import read_json
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.text_to_video import vae_scale
from g4v.export.components.profile import DimensionRange, ShapeProfile
from g4v.export.errors import ExportError


def text_length(checkpoint: Checkpoint) -> int:
    """Tokens to which a text is cut and padded: the text encoder's positions, or fewer where the tokenizer's
    model_max_length says so, as diffusers' pipelines do it.
    """
    folder = checkpoint.parts["t2v"]
    positions = read_json(folder / "text_encoder" / "config.json", ExportError).get(
        "max_position_embeddings", 77
    )
    settings = folder / "tokenizer" / "tokenizer_config.json"
    given = read_json(settings, ExportError).get("model_max_length") if settings.exists() else None
    return int(min(positions, given)) if isinstance(given, (int, float)) and given >= 1 else int(positions)


def text_profile(checkpoint: Checkpoint) -> ShapeProfile:
    """One text, or two for guidance, of up to all positions."""
    length = text_length(checkpoint)
    return {"batch": DimensionRange(1, 2, 2), "length": DimensionRange(1, length, length)}


def video_profile(checkpoint: Checkpoint, height: str, width: str) -> ShapeProfile:
    """Latents of videos of the run's own size, and of up to its own number of frames. height, width: names of
    the dimensions.
    """
    video: dict[str, Any] = checkpoint.about["generation"].get("video", {})
    frames, scale = int(video.get("frames", 8)), vae_scale(checkpoint.parts["t2v"])
    sides = ((height, "height"), (width, "width"))
    return {
        "frames": DimensionRange(1, frames, frames),
        **{name: DimensionRange.fixed(max(1, int(video.get(key, 64)) // scale)) for name, key in sides},
    }
