"""The body of POST /v1/videos, and the options of videos that a chat request has too."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ...errors import ArgumentError, BundleError, VideoError
from ..base.errors import ApiError, bad_request
from ..base.fields import Fields
from ..media.sources import Media, parse_reference

if TYPE_CHECKING:
    from ...assistant import Assistant

MOST_SEED = 2**64 - 1
REFUSED = ("image_reference", "video_reference", "n", "lora", "extra_params")
REFERENCE = "input_reference"


@dataclass(frozen=True)
class VideoRequest:
    """A request for a video. values: options of `Assistant.generate`. fps: in place of the bundle's.
    reference: what it is made from, not opened yet, or the bytes of a form's file.
    """

    prompt: str
    values: dict[str, Any]
    fps: float | None
    unknown: int
    reference: Media | bytes | None = None


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
    if not assistant.info.keys() & {"video", "generator"}:
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


def parse_video(
    fields: Fields, assistant: Assistant, own_host: str = "", file: bytes | None = None
) -> VideoRequest:
    """The request of a JSON body or a form. own_host: the request's Host. file: the form's file.

    ApiError (400) names the field that is at fault.
    """
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
    strength = fields.number("strength", 0, 1)
    given = fields.value("input_reference")
    if given is None and file is None and strength is not None:
        raise bad_request(
            f"strength is of a video that is made from another one; give {REFERENCE}", "strength"
        )
    if given is not None and file is not None:
        raise bad_request(f"{REFERENCE} is given twice", REFERENCE)
    values |= {} if strength is None else {"strength": strength}
    reference = file if given is None else parse_reference(given, REFERENCE, own_host)
    return VideoRequest(prompt, values, fps, len(fields.unknown()), reference)


def read_reference(
    assistant: Assistant, data: bytes | IO[bytes], picture: bool, values: dict[str, Any]
) -> Any:
    """The frames that a video of these options is made from, for `Assistant._start_video`.

    picture: one frame is taken. ApiError (400): the bytes are no video or picture, strength leaves no step,
    or the bundle has no VAE encoder.
    """
    try:
        return assistant._read_source(data, picture, **values)[0]
    except BundleError as error:
        raise ApiError(400, str(error), "unsupported_parameter", REFERENCE) from None
    except VideoError as error:
        raise bad_request(f"{REFERENCE}: {error}", REFERENCE, "invalid_video") from None
    except ArgumentError as error:
        raise bad_request(str(error), REFERENCE if "generator" in assistant.info else "strength") from None


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
