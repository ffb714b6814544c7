"""The body of POST /v1/videos, and the options of videos that a chat request has too."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import ArgumentError, BundleError
from ..base.errors import ApiError, bad_request
from ..base.fields import Fields

if TYPE_CHECKING:
    from ...assistant import Assistant

MOST_SEED = 2**64 - 1
REFUSED = ("input_reference", "image_reference", "video_reference", "n", "lora", "extra_params")


@dataclass(frozen=True)
class VideoRequest:
    """A request for a video. values: options of `Assistant.generate`. fps: in place of the bundle's."""

    prompt: str
    values: dict[str, Any]
    fps: float | None
    unknown: int


def video_options(fields: Fields) -> dict[str, Any]:
    """Options of `Assistant.generate` but for the seed; those that are not given are left out."""
    values = {
        "steps": fields.integer("num_inference_steps", 1, 100_000),
        "guidance_scale": fields.number("guidance_scale", 0, 100),
        "negative_prompt": fields.text("negative_prompt"),
        "scheduler": fields.text("scheduler"),
        "frames": fields.integer("num_frames", 1, 1024),
        "width": fields.integer("width", 1, 4096),
        "height": fields.integer("height", 1, 4096),
    }
    return {name: value for name, value in values.items() if value is not None}


def check_video_options(assistant: Assistant, values: dict[str, Any]) -> None:
    """Refuses what the core would refuse. ApiError (400)."""
    if "video" not in assistant.info:
        raise ApiError(400, "this server's bundle makes no videos", "unsupported")
    given = {name: value for name, value in values.items() if name != "seed"}
    if not given:
        return
    try:
        # A chat has the same options and checks them without making anything.
        assistant.chat(**given)
    except ArgumentError as error:
        raise bad_request(str(error)) from None
    except BundleError:
        pass  # it only makes videos: the options are checked when one is made


def parse_video(fields: Fields, assistant: Assistant) -> VideoRequest:
    """The request of a JSON body or a form. ApiError (400) names the field that is at fault."""
    for name in REFUSED:
        fields.refuse(name, (1,) if name == "n" else ({},))
    fields.value("user")
    prompt = fields.text("prompt")
    if prompt is None or not prompt.strip():
        raise bad_request("prompt must be a text that says what the video shows", "prompt")
    values = video_options(fields)
    size = fields.text("size")
    if size is not None:
        match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", size)
        if not match:
            raise bad_request("size must be WIDTHxHEIGHT in pixels, such as 576x320", "size")
        if "width" in values or "height" in values:
            raise bad_request("size and width or height say the same; keep one", "size")
        values |= {"width": int(match[1]), "height": int(match[2])}
    fps = fields.number("fps", 1, 120)
    seconds = _seconds(fields)
    if seconds is not None:
        if "frames" in values:
            raise bad_request("seconds and num_frames say the same; keep one", "seconds")
        rate = fps or float((assistant.info.get("video") or {}).get("fps") or 8)
        values["frames"] = max(1, round(seconds * rate))
        if values["frames"] > 1024:
            raise bad_request(f"seconds is {seconds:g}, {values['frames']} frames; at most 1024", "seconds")
    seed = fields.integer("seed", -(2**63), MOST_SEED)
    values["seed"] = secrets.randbits(32) if seed is None else seed % (MOST_SEED + 1)
    check_video_options(assistant, values)
    return VideoRequest(prompt, values, fps, len(fields.unknown()))


def _seconds(fields: Fields) -> float | None:
    """`seconds`, which OpenAI's API has as a string."""
    value = fields.value("seconds")
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
        if value is None:
            raise bad_request("seconds must be a number", "seconds")
    return Fields({"seconds": value}).number("seconds", 0.01, 1024)
