"""What a turn of a chat yields, in the order in which it happens."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Text:
    """A piece of the answer, as soon as it is decoded. Joined, the pieces are the text; it has no tags."""

    text: str


@dataclass(frozen=True)
class VideoPrompt:
    """The assistant asked for a video; it is being made while the text goes on.

    index: 0 for the first video of this turn. caption: what it shall show.
    """

    index: int
    caption: str


@dataclass(frozen=True)
class Progress:
    """A denoising step is done: `step` of `steps` (1-based) of video `index` of this turn."""

    index: int
    step: int
    steps: int


@dataclass(frozen=True, eq=False)
class Video:
    """A generated video.

    frames: uint8 [T, H, W, 3], RGB. fps: frames per second. caption: what it was made from. index: its place
    in the turn. seed: `Assistant.generate(caption, seed=seed)` makes the same frames again. warnings: one
    sentence each, from `Assistant.generate`; those of a turn are on its `Done` and `Reply`.
    """

    frames: npt.NDArray[np.uint8]
    fps: float
    caption: str
    index: int
    seed: int
    warnings: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the video as .mp4 (H.264), .webm (VP9) or .gif and returns the path.

        The file appears whole or not at all. Raises `ArgumentError` for another suffix and `OutputError`
        where the file cannot be written.
        """
        from ._encode import save_video

        return save_video(path, self.frames, self.fps, title=self.caption)


@dataclass(frozen=True)
class Withheld:
    """A generated video is not shown, because `unsafe` of its `frames` frames look unsafe.

    It stands in the place of the `Video` of this index; caption: what it was made from.
    """

    index: int
    caption: str
    unsafe: int
    frames: int


@dataclass(frozen=True)
class Refusal:
    """The assistant refused. text: the whole answer, whose pieces have come as `Text` already."""

    text: str


@dataclass(frozen=True)
class Timings:
    """Where the time of a turn went, in milliseconds.

    read_ms: reading and sampling the video file. encode_ms: video encoder and abstractor. prefill_ms: the
    prompt through the decoder. first_token_ms: from `send` to the first token. decode_ms: all tokens after
    the first. video_ms: text-to-video, all videos. total_ms: the whole turn.
    """

    read_ms: float = 0.0
    encode_ms: float = 0.0
    prefill_ms: float = 0.0
    first_token_ms: float = 0.0
    decode_ms: float = 0.0
    video_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True)
class Done:
    """The turn is over; always the last event.

    prompt_tokens: positions that were prefilled, video tokens among them. new_tokens: tokens decoded.
    finish_reason: "stop", "length" (the limit of new tokens) or "context" (the context is full).
    warnings: one sentence each, about the input video or a video that was not, or not wholly, made as asked.
    video_frames: frames of the turn's video that the assistant looked at. encoded_frames: those of them that
    it encoded; the chat had seen the others in the video before and kept what it knew of them.
    """

    prompt_tokens: int
    new_tokens: int
    finish_reason: str
    timings: Timings
    warnings: tuple[str, ...] = ()
    video_frames: int = 0
    encoded_frames: int = 0


Event = Text | VideoPrompt | Progress | Video | Withheld | Refusal | Done


@dataclass(frozen=True, eq=False)
class Reply:
    """A whole turn, as `Chat.ask` returns it. withheld: the videos that a frame checker found unsafe."""

    text: str
    videos: tuple[Video, ...]
    refused: bool
    timings: Timings
    prompt_tokens: int
    new_tokens: int
    finish_reason: str
    warnings: tuple[str, ...] = ()
    withheld: tuple[Withheld, ...] = ()


def to_json(event: Event) -> dict[str, Any]:
    """The event as plain values, {"event": "text", "text": ...}; a video without its pixels."""
    kind = type(event).__name__
    name = "".join("_" + c.lower() if c.isupper() else c for c in kind).lstrip("_")
    values: dict[str, Any] = {"event": name}
    if isinstance(event, Video):
        count, height, width, _ = event.frames.shape
        values |= {"index": event.index, "caption": event.caption, "seed": event.seed, "fps": event.fps}
        return values | {"frames": count, "height": height, "width": width}
    return values | dataclasses.asdict(event)
