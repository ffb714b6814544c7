"""A chat with an assistant: questions and answers with their history."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from ._options import checked, text_bytes, text_options, video_options
from ._stream import Events, public_events, reply_of
from .errors import ArgumentError, Cancelled, DeadlineExceeded
from .events import Event, Reply

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Unpack

    from . import _core
    from ._sampling import FrameSampling
    from .video import Source


_Times: TypeAlias = "tuple[list[float], float] | None"  # of each frame, and of the video, in seconds


class TurnOptions(TypedDict, total=False):
    """The keywords of `Chat.send` and `Chat.ask`, which `send` describes."""

    frames: int | None
    seed: int | None
    stop: Sequence[str]
    temperature: float | None
    top_k: int | None
    top_p: float | None
    repetition_penalty: float | None
    max_new_tokens: int | None
    logprobs: int | None
    videos: bool
    max_turn_ms: int | None
    max_videos: int | None
    preview_every: int | None
    stream_frames: bool | None


class Chat:
    """Questions and answers with their history, made by `Assistant.chat`. It runs one turn at a time.

    A turn that fails, is cancelled, or whose iterator is closed before its end leaves the chat as it
    was before the turn, and the chat can go on.
    """

    def __init__(
        self,
        core: _core.Chat,
        sampling: FrameSampling,
        most_frame_samples: int,
        token_bytes: Callable[[int], bytes],
        limits: Mapping[str, int],
    ) -> None:
        self._core = core
        self._sampling = sampling
        self._most_frame_samples = most_frame_samples
        self._token_bytes = token_bytes
        self._limits = limits
        self._cancelled = threading.Event()

    @property
    def seed(self) -> int:
        """The seed of this chat, as given to `Assistant.chat` or drawn there."""
        return self._core.seed

    @property
    def turns(self) -> int:
        """Number of finished turns, appended ones among them."""
        return self._core.turns

    @property
    def bytes(self) -> int:
        """Bytes that the chat holds between its turns: keys and values, and what it knows of videos.

        What it shares with its forks counts whole for each of them; `Assistant.kv_bytes` counts it once.
        """
        return self._core.bytes

    @property
    def context_used(self) -> int:
        """Number of tokens of the context that the finished turns use, video tokens among them."""
        return self._core.context_used

    @property
    def context_length(self) -> int:
        """Number of tokens that the context holds."""
        return self._core.context_length

    def send(
        self,
        text: str,
        video: Source | None = None,
        *,
        frames: int | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        max_new_tokens: int | None = None,
        logprobs: int | None = None,
        videos: bool = True,
        max_turn_ms: int | None = None,
        max_videos: int | None = None,
        preview_every: int | None = None,
        stream_frames: bool | None = None,
    ) -> Generator[Event, None, None]:
        """Starts a turn and returns an iterator over its events; the last one is `Done`.

        The turn runs on threads of the core, whether or not the iterator is asked for the next event. Closing
        the iterator early, or Ctrl-C while it waits, cancels the turn.

        Args:
            text: what the user says. Tags and special tokens in it are plain text.
            video: the video that the text is about: a path, the bytes of a file, a binary file object, or
                frames as uint8 [T, H, W, 3] in RGB.
            frames: how many frames of the video are looked at, evenly spread; None for the bundle's number
                (`Assistant.info["frame_samples"]`). Of a bundle that takes frames by the second
                (`Assistant.info["frame_sampling"]`) it is the most. From 1 to
                `Assistant.info["most_frame_samples"]`.
            seed: of the answer's sampling and of its videos, in place of the chat's.
            stop: at most 16 texts; the answer ends before the first of them that it comes to.
            temperature: as for `Assistant.chat`, and so are the next four; None for the chat's.
            top_k: see there.
            top_p: see there.
            repetition_penalty: see there.
            max_new_tokens: see there.
            logprobs: how many of the likeliest tokens are told beside each sampled one, 0 to 20, with the
                logarithms of their probabilities; None for nothing of it.
            videos: False: captions are told as `VideoPrompt`, and no videos are made of them.
            max_turn_ms: milliseconds, 0 to 1073741824, that the turn may take, reading the video and waiting
                for its place included; then it ends with `DeadlineExceeded`. None and 0 for the limit of
                `load` alone, else the tighter of both holds.
            max_videos: how many videos are made of this answer, 0 to 16777216; None and 0 as above.
            preview_every: as for `Assistant.chat`; None for the chat's.
            stream_frames: likewise.

        Raises:
            ArgumentError: at once; the text is empty or no valid Unicode, the video is of a wrong type,
                frames is given without a video, or an option is out of range.
            VideoError: at once; the video cannot be read, or its frames are above `max_decoded_bytes` of
                `load`.
            ContextFull: at once, where the turn does not fit into what is left of the context, or is above
                `max_prompt_tokens` or `max_chat_kv_bytes` of `load`; while iterating, where its `kv_memory`
                is used up.
            DeadlineExceeded: at once or while iterating; the turn took longer than `max_turn_ms`.
            BundleError: at once; the bundle lacks a component that the turn needs.
            Cancelled: at once or while iterating; the turn was cancelled.
            RuntimeUnavailable: while iterating; ONNX Runtime fails.
        """
        return public_events(
            self._start(
                text,
                video,
                frames=frames,
                seed=seed,
                stop=stop,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                repetition_penalty=repetition_penalty,
                max_new_tokens=max_new_tokens,
                logprobs=logprobs,
                videos=videos,
                max_turn_ms=max_turn_ms,
                max_videos=max_videos,
                preview_every=preview_every,
                stream_frames=stream_frames,
            )
        )

    def _start(
        self,
        text: str,
        video: Source | None = None,
        *,
        frames: int | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        videos: bool = True,
        max_turn_ms: int | None = None,
        max_videos: int | None = None,
        preview_every: int | None = None,
        stream_frames: bool | None = None,
        **sampling: float | None,
    ) -> Events:
        """`send`, for who reads the events of several chats. sampling: its options of `text_options`."""
        prompt = text_bytes("the prompt", text)
        options = text_options(**sampling)
        making = video_options(preview_every=preview_every, stream_frames=stream_frames)
        if isinstance(stop, str | bytes):
            raise ArgumentError("stop is one text; it must be a list of texts")
        stops = [text_bytes("stop", item) for item in stop]
        if not isinstance(videos, bool):
            raise ArgumentError(f"videos is {videos!r}; it must be True or False")
        seed, logprobs = checked("seed", seed), checked("logprobs", logprobs)
        turn_ms = checked("max_turn_ms", max_turn_ms) or 0
        most_videos = checked("max_videos", max_videos) or 0
        samples = self._checked_samples(frames)
        cancelled = self._cancelled = threading.Event()
        pixels, times, warnings, read_ms = self._read(video, samples, cancelled, turn_ms)
        stream = self._core.send(
            prompt,
            pixels,
            options,
            making,
            question_frames=samples,
            seed=seed,
            stop=stops,
            logprobs=logprobs,
            make_videos=videos,
            max_turn_ms=turn_ms,
            max_videos=most_videos,
            spent_ms=read_ms,
            frame_times=times,
        )
        # `cancel` sets the flag first: a cancel between the reading and `send` is seen here.
        if cancelled.is_set():
            stream.cancel()
        return Events(stream, warnings, read_ms, self._token_bytes)

    def _read(
        self, video: Source | None, samples: int | None, cancelled: threading.Event, turn_ms: int = 0
    ) -> tuple[npt.NDArray[np.uint8] | None, _Times, tuple[str, ...], float]:
        """The frames to look at, when they are shown, the warnings of reading, and the milliseconds that it
        took.

        turn_ms: `max_turn_ms` of the turn, 0 for none; that of the load holds too.
        """
        if video is None:
            return None, None, (), 0.0
        from .video import read_video

        sampling = self._sampling if samples is None else replace(self._sampling, frames=samples)
        limits = [ms for ms in (turn_ms, self._limits["max_turn_ms"]) if ms > 0]
        started = time.perf_counter()

        def elapsed() -> float:
            return 1e3 * (time.perf_counter() - started)

        try:
            pixels, read = read_video(
                video,
                sampling,
                lambda: cancelled.is_set() or any(elapsed() > ms for ms in limits),
                max_decoded_bytes=self._limits["max_decoded_bytes"],
            )
        except Cancelled:
            if cancelled.is_set():
                raise
            raise DeadlineExceeded(
                f"reading the video alone took longer than max_turn_ms, {min(limits)} milliseconds; pass a "
                "shorter video or allow for more"
            ) from None
        return pixels, sampling.times(read), read.warnings, elapsed()

    def _checked_samples(self, frames: int | None) -> int | None:
        """The number, which must be known to be in range before a video is read with it."""
        samples: int | None = checked("frames", frames)
        if samples is not None and not 1 <= samples <= self._most_frame_samples:
            raise ArgumentError(f"frames is {samples} but must be 1 to {self._most_frame_samples}")
        return samples

    def ask(self, text: str, video: Source | None = None, **options: Unpack[TurnOptions]) -> Reply:
        """Runs a whole turn and returns its result; as `send`, but without events.

        Args:
            text: what the user says.
            video: the video that the text is about, as for `send`.
            options: the keywords of `send`.

        Raises:
            ArgumentError, VideoError, ContextFull, BundleError, Cancelled, DeadlineExceeded,
            RuntimeUnavailable: as `send`.
        """
        return reply_of(self.send(text, video, **options))

    def append(
        self, text: str, answer: str, video: Source | None = None, *, frames: int | None = None
    ) -> None:
        """Appends a turn that was not generated here, such as one of an earlier conversation.

        It is quick: the tokens are computed with the next turn.

        Args:
            text: what the user said, as for `send`.
            answer: what the assistant answered. Special tokens in it are plain text. It may hold captions
                between video tags, as in "Here it is: <video>a red ball</video>"; no videos are made of them.
            video: the video that the text was about, as for `send`.
            frames: how many frames of it are looked at, as for `send`.

        Raises:
            ArgumentError: a text is no valid Unicode, the user's text is empty, the video is of a wrong type,
                or a turn is under way.
            VideoError: the video cannot be read.
            ContextFull: the turn does not fit into what is left of the context, or is above
                `max_prompt_tokens` of `load`.
            DeadlineExceeded: reading the video took longer than `max_turn_ms` of `load`.
            BundleError: the bundle sees no videos.
            Cancelled: `cancel` was called while the video was read.
        """
        prompt, answered = text_bytes("the prompt", text), text_bytes("the answer", answer)
        samples = self._checked_samples(frames)
        cancelled = self._cancelled = threading.Event()
        pixels, times, _, _ = self._read(video, samples, cancelled)
        self._core.append(prompt, answered, pixels, samples, times)

    def fork(self, seed: int | None = None) -> Chat:
        """A chat with the same history and options, which goes on for itself.

        Where g4v runs the decoder itself, both share the memory of the history.

        Args:
            seed: of the new chat; None for this chat's.

        Raises:
            ArgumentError: seed is no seed, or a turn is under way.
        """
        core = self._core.fork(checked("seed", seed))
        return Chat(core, self._sampling, self._most_frame_samples, self._token_bytes, self._limits)

    def truncate(self, turns: int) -> None:
        """Forgets all turns but the first ones.

        Args:
            turns: how many stay, 0 to `turns`.

        Raises:
            ArgumentError: the chat has not as many, or a turn is under way.
        """
        number = checked("turns", turns)
        if number is None:
            raise ArgumentError("turns is None; it must be an integer")
        self._core.truncate(number)

    def cancel(self) -> None:
        """Stops the turn that is running; may be called from any thread, and does nothing without a turn.

        The iterator of the turn raises `Cancelled`.
        """
        self._cancelled.set()
        self._core.cancel()
