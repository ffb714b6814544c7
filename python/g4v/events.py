"""The events of a turn of a chat, and `Reply`, the result of a whole turn."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import Error

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class TopToken:
    """One of the likeliest tokens at a place of the answer.

    Attributes:
        id: of the token.
        text: its bytes within a text, maybe a part of a character; of a special token its name.
        logprob: natural logarithm of its probability by the softmax of the logits as they are: before
            temperature, repetition penalty, top-k and top-p.
    """

    id: int
    text: bytes
    logprob: float


@dataclass(frozen=True)
class Token:
    """A token of the answer, as it was sampled.

    Attributes:
        id: of the token.
        text: its bytes, as in `TopToken`.
        logprob: as in `TopToken`; None where the turn did not ask for it.
        top: the likeliest tokens at this place, the best first, as many as the turn asked for.
    """

    id: int
    text: bytes
    logprob: float | None = None
    top: tuple[TopToken, ...] = ()


@dataclass(frozen=True)
class Text:
    """A piece of the answer, as soon as it is decoded.

    Attributes:
        text: joined in order, the pieces are the answer without the tags of videos.
        tokens: those sampled since the `Text` before, those of captions and tags among them.
    """

    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True)
class VideoPrompt:
    """The assistant has asked for a video, which is made while the text goes on.

    Attributes:
        index: place of the video in this turn, from 0.
        caption: what the video shall show.
    """

    index: int
    caption: str


@dataclass(frozen=True)
class Progress:
    """A denoising step of a video is done; another server's generator tells percents.

    Attributes:
        index: place of the video in this turn, from 0.
        step: number of steps done, from 1 to `steps`.
        steps: number of steps of the whole video, or 100.
        preview: what the video is becoming, where `preview_every` asks for it after this step: one frame from
            its middle, uint8 [H, W, 3], RGB, read-only, the longest edge at most 128 pixels. Else None.
    """

    index: int
    step: int
    steps: int
    preview: npt.NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class VideoFrames:
    """Frames of a video as they are decoded, where `stream_frames` asks for them.

    A frame checker has passed them. The `Video` that follows has all of them again; or the whole is withheld
    after all, and what was shown should be taken back.

    Attributes:
        index: place of the video in this turn, from 0.
        first: place of the first of these frames in the video, from 0.
        total: number of frames of the whole video.
        frames: uint8 [T, H, W, 3], RGB, read-only.
        fps: frames per second.
    """

    index: int
    first: int
    total: int
    frames: npt.NDArray[np.uint8]
    fps: float


@dataclass(frozen=True, eq=False)
class Video:
    """A generated video.

    Attributes:
        frames: uint8 [T, H, W, 3], RGB, read-only.
        fps: frames per second.
        caption: the text that it was made from.
        index: place of the video in its turn, from 0.
        seed: `Assistant.generate(caption, seed=seed)` with the same options makes the same frames again.
        warnings: one sentence each, from `Assistant.generate`; those of a turn are in `Done` and `Reply`.
    """

    frames: npt.NDArray[np.uint8]
    fps: float
    caption: str
    index: int
    seed: int
    warnings: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the video to a file, whole or not at all, and returns the path.

        Args:
            path: its suffix names the format: .mp4 (H.264), .webm (VP9) or .gif.

        Raises:
            ArgumentError: another suffix.
            OutputError: the file cannot be written, or there is no encoder for the format.
        """
        from ._encode import save_video

        return save_video(path, self.frames, self.fps, title=self.caption)


@dataclass(frozen=True)
class Withheld:
    """A generated video is withheld because too many of its frames look unsafe; it replaces the `Video`.

    Attributes:
        index: place of the video in this turn, from 0.
        caption: the text that it was made from.
        unsafe: number of frames that look unsafe.
        frames: number of all frames; of a preview 1, and of frames that are handed on as they are decoded
            those that were looked at together.
    """

    index: int
    caption: str
    unsafe: int
    frames: int


@dataclass(frozen=True, eq=False)
class VideoFailed:
    """The generator that was given to `load` made no video of a caption; it replaces the `Video`.

    The turn goes on, and its text is kept. A fault of the bundle's own generator ends the turn.

    Attributes:
        index: place of the video in this turn, from 0.
        caption: what the video should have shown.
        error: why, `GeneratorError` in most cases; `str(error)` is one sentence.
    """

    index: int
    caption: str
    error: Error


@dataclass(frozen=True)
class Refusal:
    """The assistant refused to answer.

    Attributes:
        text: the whole answer, whose pieces were `Text` events before.
    """

    text: str


@dataclass(frozen=True)
class Timings:
    """Wall-clock times of a turn, in milliseconds; parts that run at the same time overlap.

    Attributes:
        read_ms: reading the video file and sampling its frames.
        queue_ms: from `Chat.send` until the turn was begun; others came first where there were many.
        encode_ms: video encoder and abstractor.
        prefill_ms: the prompt through the decoder.
        first_token_ms: from `Chat.send` to the first token.
        decode_ms: all tokens after the first.
        video_ms: text-to-video, the sum over all videos of the turn.
        total_ms: the whole turn.
    """

    read_ms: float = 0.0
    encode_ms: float = 0.0
    prefill_ms: float = 0.0
    first_token_ms: float = 0.0
    decode_ms: float = 0.0
    video_ms: float = 0.0
    total_ms: float = 0.0
    queue_ms: float = 0.0


@dataclass(frozen=True)
class Done:
    """The turn is over; always the last event.

    Attributes:
        prompt_tokens: positions that were prefilled, video tokens among them.
        new_tokens: tokens decoded, the end of the turn included.
        finish_reason: "stop", "length" (the limit of new tokens), "context" (the context is full) or "memory"
            (`kv_memory` or `max_chat_kv_bytes` of `load` is used up).
        timings: where the time went.
        warnings: one sentence each, about damage of the input video, or about a generated video that was not
            made, or not as asked.
        video_frames: number of frames of the videos that were prefilled in this turn; 0 without a video.
        encoded_frames: number of those that were encoded in this turn; the others were in the chat's frame
            memory from an earlier turn.
        cached_tokens: positions of the prompt before those that were prefilled: history, or an opening that
            other chats have too. With `prompt_tokens` they are the whole prompt.
        tokens: those sampled since the last `Text`, the end of the turn among them.
        drafted_tokens: tokens that were guessed from the conversation, to be computed in one step.
        accepted_tokens: those of them that were right.
    """

    prompt_tokens: int
    new_tokens: int
    finish_reason: str
    timings: Timings
    warnings: tuple[str, ...] = ()
    video_frames: int = 0
    encoded_frames: int = 0
    cached_tokens: int = 0
    tokens: tuple[Token, ...] = ()
    drafted_tokens: int = 0
    accepted_tokens: int = 0


Event = Text | VideoPrompt | Progress | VideoFrames | Video | Withheld | VideoFailed | Refusal | Done
"""Any event of a turn."""


@dataclass(frozen=True, eq=False)
class Reply:
    """The result of a whole turn, from `Chat.ask`.

    Attributes:
        text: the answer, without the tags of videos.
        videos: the generated videos, in order.
        refused: whether the assistant refused to answer.
        timings: where the time went.
        prompt_tokens: positions that were prefilled, video tokens among them.
        new_tokens: tokens decoded.
        finish_reason: as in `Done`.
        warnings: one sentence each, as in `Done`.
        withheld: the videos that a frame checker found unsafe.
        tokens: all that were sampled, in order.
        cached_tokens: as in `Done`.
        failed: the videos that the generator given to `load` did not make.
    """

    text: str
    videos: tuple[Video, ...]
    refused: bool
    timings: Timings
    prompt_tokens: int
    new_tokens: int
    finish_reason: str
    warnings: tuple[str, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    tokens: tuple[Token, ...] = ()
    cached_tokens: int = 0
    failed: tuple[VideoFailed, ...] = ()


def to_json(event: Event) -> dict[str, Any]:
    """An event as values of JSON, such as {"event": "text", "text": "Hello"}.

    The event is named in snake case. A video, frames of one and a preview have their sizes in place of
    pixels. Tokens are left out unless the turn asked for logprobs.
    """
    kind = type(event).__name__
    name = "".join("_" + c.lower() if c.isupper() else c for c in kind).lstrip("_")
    values: dict[str, Any] = {"event": name}
    if isinstance(event, Video):
        count, height, width, _ = event.frames.shape
        values |= {"index": event.index, "caption": event.caption, "seed": event.seed, "fps": event.fps}
        return values | {"frames": count, "height": height, "width": width}
    if isinstance(event, VideoFrames):
        count, height, width, _ = event.frames.shape
        values |= {"index": event.index, "first": event.first, "total": event.total, "fps": event.fps}
        return values | {"frames": count, "height": height, "width": width}
    if isinstance(event, Progress):
        values |= {"index": event.index, "step": event.step, "steps": event.steps}
        if event.preview is not None:
            height, width, _ = event.preview.shape
            values["preview"] = {"height": height, "width": width}
        return values
    if isinstance(event, VideoFailed):
        kind = type(event.error).__name__
        return values | {
            "index": event.index,
            "caption": event.caption,
            "kind": kind,
            "error": str(event.error),
        }
    values |= dataclasses.asdict(event)
    tokens = values.pop("tokens", ())
    if any(token["logprob"] is not None for token in tokens):
        values["tokens"] = [_token_json(token) for token in tokens]
    return values


def _token_json(token: dict[str, Any]) -> dict[str, Any]:
    # Half a character has no text of its own.
    plain = token | {"text": token["text"].decode("utf-8", "replace")}
    return plain | ({"top": [_token_json(top) for top in token["top"]]} if "top" in token else {})
