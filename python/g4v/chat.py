"""A chat with an assistant: questions and answers with their history."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from ._options import checked, text_bytes
from ._stream import public_events
from .errors import ArgumentError, InternalError
from .events import Done, Event, Refusal, Reply, Text, Video, Withheld

if TYPE_CHECKING:
    from . import _core
    from .video import Source


class Chat:
    """Questions and answers with their history, made by `Assistant.chat`. It runs one turn at a time.

    A turn that fails, is cancelled, or whose iterator is closed before its end leaves the chat as it
    was before the turn, and the chat can go on.
    """

    def __init__(self, core: _core.Chat, frame_samples: int, most_frame_samples: int) -> None:
        self._core = core
        self._frame_samples = frame_samples
        self._most_frame_samples = most_frame_samples
        self._cancelled = threading.Event()

    @property
    def seed(self) -> int:
        """The seed of this chat, as given to `Assistant.chat` or drawn there."""
        return self._core.seed

    @property
    def context_used(self) -> int:
        """Number of tokens of the context that the finished turns use, video tokens among them."""
        return self._core.context_used

    @property
    def context_length(self) -> int:
        """Number of tokens that the context holds."""
        return self._core.context_length

    def send(
        self, text: str, video: Source | None = None, *, frames: int | None = None
    ) -> Generator[Event, None, None]:
        """Starts a turn and returns an iterator over its events; the last one is `Done`.

        The turn runs on threads of the core, whether or not the iterator is asked for the next event. Closing
        the iterator early, or Ctrl-C while it waits, cancels the turn.

        Args:
            text: what the user says. Tags and special tokens in it are plain text.
            video: the video that the text is about: a path, the bytes of a file, a binary file object, or
                frames as uint8 [T, H, W, 3] in RGB.
            frames: how many frames of the video are looked at, evenly spread; None for the bundle's number
                (`Assistant.info["frame_samples"]`). From 1 to `Assistant.info["most_frame_samples"]`.

        Raises:
            ArgumentError: at once; the text is empty or no valid Unicode, the video is of a wrong type, or
                frames is out of range or given without a video.
            VideoError: at once; the video cannot be read.
            ContextFull: at once; the turn does not fit into what is left of the context.
            BundleError: at once; the bundle lacks a component that the turn needs.
            Cancelled: at once or while iterating; the turn was cancelled.
            RuntimeUnavailable: while iterating; ONNX Runtime fails.
        """
        prompt = text_bytes("the prompt", text)
        samples = self._checked_samples(frames)
        cancelled = self._cancelled = threading.Event()
        pixels = None
        warnings: tuple[str, ...] = ()
        read_ms = 0.0
        if video is not None:
            from .video import read_video

            started = time.perf_counter()
            pixels, read = read_video(video, samples or self._frame_samples, cancelled.is_set)
            read_ms, warnings = 1e3 * (time.perf_counter() - started), read.warnings
        stream = self._core.send(prompt, pixels, question_frames=samples)
        # `cancel` sets the flag first: a cancel between the reading and `send` is seen here.
        if cancelled.is_set():
            stream.cancel()
        return public_events(stream, warnings, read_ms)

    def _checked_samples(self, frames: int | None) -> int | None:
        """The number, which must be known to be in range before a video is read with it."""
        samples: int | None = checked("frames", frames)
        if samples is not None and not 1 <= samples <= self._most_frame_samples:
            raise ArgumentError(f"frames is {samples} but must be 1 to {self._most_frame_samples}")
        return samples

    def ask(self, text: str, video: Source | None = None, *, frames: int | None = None) -> Reply:
        """Runs a whole turn and returns its result; as `send`, but without events.

        Args:
            text: what the user says.
            video: the video that the text is about, as for `send`.
            frames: how many frames of it are looked at, as for `send`.

        Raises:
            ArgumentError, VideoError, ContextFull, BundleError, Cancelled, RuntimeUnavailable: as `send`.
        """
        pieces: list[str] = []
        videos: list[Video] = []
        withheld: list[Withheld] = []
        refused = False
        done: Done | None = None
        for event in self.send(text, video, frames=frames):
            if isinstance(event, Text):
                pieces.append(event.text)
            elif isinstance(event, Video):
                videos.append(event)
            elif isinstance(event, Withheld):
                withheld.append(event)
            elif isinstance(event, Refusal):
                refused = True
            elif isinstance(event, Done):
                done = event
        if done is None:
            raise InternalError("the turn ended without its last event")
        return Reply(
            text="".join(pieces),
            videos=tuple(videos),
            refused=refused,
            timings=done.timings,
            prompt_tokens=done.prompt_tokens,
            new_tokens=done.new_tokens,
            finish_reason=done.finish_reason,
            warnings=done.warnings,
            withheld=tuple(withheld),
        )

    def cancel(self) -> None:
        """Stops the turn that is running; may be called from any thread, and does nothing without a turn.

        The iterator of the turn raises `Cancelled`.
        """
        self._cancelled.set()
        self._core.cancel()
