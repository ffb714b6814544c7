"""Turns keyword arguments of the public API into the core's options, with one-line errors for wrong types.

Ranges are checked by the core, which knows the bundle's limits.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from ._runtime import import_core
from .errors import ArgumentError

if TYPE_CHECKING:
    from . import _core

_INTEGERS = (
    "max_new_tokens", "top_k", "frames", "width", "height", "steps", "seed", "threads", "turns", "kv_memory",
    "spin_us", "prompt_lookup", "logprobs", "max_decoded_bytes", "max_prompt_tokens", "max_chat_kv_bytes",
    "max_turn_ms", "max_videos", "max_video_pixels", "preview_every",
)  # fmt: skip
_TEXTS = ("negative_prompt", "scheduler", "device", "verify", "kv_dtype")
_SWITCHES = ("stream_frames", "prompt_weighting")
_LARGEST = {
    "seed": 2**64 - 1,
    "kv_memory": 2**63 - 1,
    "max_decoded_bytes": 2**63 - 1,
    "max_chat_kv_bytes": 2**63 - 1,
    "max_video_pixels": 2**63 - 1,
}


def checked(name: str, value: Any) -> Any:
    """The value as a plain int, float, bool or str; None stays. Raises `ArgumentError`."""
    if value is None:
        return None
    if name in _SWITCHES:
        if not isinstance(value, bool):
            raise ArgumentError(f"{name} is {value!r}; it must be True or False")
        return value
    if name in _TEXTS:
        if not isinstance(value, str):
            raise ArgumentError(f"{name} is a {type(value).__name__}; it must be a string")
        return text_bytes(name, value).decode()
    if name in _INTEGERS:
        largest = _LARGEST.get(name, 2**31 - 1)
        try:
            number = operator.index(value)
        except TypeError:
            raise ArgumentError(f"{name} is {value!r}; it must be an integer") from None
        smallest = 0 if name in _LARGEST else -(2**31)
        if not smallest <= number <= largest:
            raise ArgumentError(f"{name} is {number}; it must be from {smallest} to {largest}")
        return number
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"{name} is {value!r}; it must be a number") from None


def text_bytes(name: str, text: Any) -> bytes:
    """The text as UTF-8. Raises `ArgumentError` for another type and for lone surrogates."""
    if not isinstance(text, str):
        raise ArgumentError(f"{name} is a {type(text).__name__}; it must be a string")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ArgumentError(
            f"{name} is not valid Unicode text (not UTF-8); remove the broken characters"
        ) from None


def text_options(**values: Any) -> _core.TextOptions:
    """The core's options of an answer; None stands for the bundle's default. Raises `ArgumentError`."""
    options: _core.TextOptions = import_core().TextOptions(**{k: checked(k, v) for k, v in values.items()})
    return options


def video_options(**values: Any) -> _core.VideoOptions:
    """The core's options of a video; None stands for the bundle's default. Raises `ArgumentError`."""
    options: _core.VideoOptions = import_core().VideoOptions(**{k: checked(k, v) for k, v in values.items()})
    return options


def load_limits(**values: Any) -> _core.Limits:
    """The core's limits of a conversation; 0 stands for no limit. Raises `ArgumentError`."""
    for name, value in values.items():
        if value is None:
            raise ArgumentError(f"{name} is None; leave it out for its default, or pass 0 for no limit")
    limits: _core.Limits = import_core().Limits(**{k: checked(k, v) for k, v in values.items()})
    return limits
