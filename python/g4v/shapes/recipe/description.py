"""What the embedded default says of itself: the fixed part of OUT/g4v_train.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v.shapes.recipe.tiny_text_to_video import shared_noise

NAME = "tiny"
ASSISTANT = "g4v"
DESCRIPTION = "The embedded default: an assistant that knows one small world of moving shapes."
LICENCES = ({"component": "all", "licence": "Apache-2.0"},)
FRAMES_PER_SECOND = 8


def generation_defaults(out: Path) -> dict[str, Any]:
    """Options of text and video generation; the noise is that of the UNet in OUT."""
    return {
        "text": {
            "max_new_tokens": 128, "temperature": 0.0, "top_k": 0, "top_p": 1.0,
            "repetition_penalty": 1.0,
        },
        "video": {
            "frames": 8, "width": 64, "height": 64, "fps": FRAMES_PER_SECOND, "steps": 20,
            "guidance_scale": 2.0, "negative_prompt": "", "shared_noise": shared_noise(out),
            "scheduler": {"type": "ddim"},
        },
    }  # fmt: skip
