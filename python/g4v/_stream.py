"""The events of the core as those of g4v.events."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

from .errors import InternalError, error_for_code
from .events import (
    Done,
    Event,
    Progress,
    Refusal,
    Reply,
    Text,
    Timings,
    Token,
    TopToken,
    Video,
    VideoFailed,
    VideoFrames,
    VideoPrompt,
    Withheld,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from . import _core

# How long one wait for an event lasts, in seconds. Python runs signal handlers (Ctrl-C) between the waits; an
# event ends a wait at once.
_WAIT = 0.05


class Events:
    """The events of a turn, one at a time and with a time limit.

    warnings: of reading the video. read_ms: milliseconds that reading took. Both go into the `Done`.
    token_bytes: of a token's id; None where there are no tokens.
    """

    def __init__(
        self,
        stream: _core.Stream,
        warnings: tuple[str, ...] = (),
        read_ms: float = 0.0,
        token_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        self._stream = stream
        self._noted = list(warnings)
        self._read_ms = read_ms
        self._token_bytes = token_bytes
        self.ended = False

    def poll(self, seconds: float) -> Event | None:
        """The next event, waited for at most so long; None where none came, or after the last one (`ended`).

        Raises the error that ended the turn, once.
        """
        while True:
            try:
                event: Any = self._stream.next(seconds)
            except TimeoutError:
                return None
            kind = type(event).__name__
            if event is None:
                self.ended = True
                return None
            if kind == "WarningEvent":
                self._noted.append(event.text)
            elif kind == "DoneEvent":
                return _done(event, tuple(self._noted), self._read_ms, _tokens(event, self._token_bytes))
            elif kind == "TextEvent":
                return Text(event.text, _tokens(event, self._token_bytes))
            else:
                return _PUBLIC[kind](event)

    def cancel(self) -> None:
        """Stops the turn, from any thread: `poll` raises `Cancelled`."""
        self._stream.cancel()

    def close(self) -> None:
        """Stops the turn and waits until it has stopped, so that the next one may start."""
        self._stream.close()


def public_events(events: Events) -> Generator[Event, None, None]:
    """The events of a turn. Closing the generator stops the turn and waits until it has stopped."""
    return _PublicEvents(events)


class _PublicEvents(Generator[Event, None, None]):
    """A generator that stops the turn also where it is closed before its first event: of a generator function
    Python then runs no line, and since 3.13 it keeps what that holds.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._running = _public_events(events)

    def send(self, value: None) -> Event:
        return self._running.send(value)

    def throw(self, *error: Any) -> Event:
        return self._running.throw(*error)

    def close(self) -> None:
        self._running.close()
        self._events.close()


def _public_events(events: Events) -> Generator[Event, None, None]:
    try:
        while not events.ended:
            if (event := events.poll(_WAIT)) is not None:
                yield event
    finally:
        events.close()


def _tokens(event: Any, token_bytes: Callable[[int], bytes] | None) -> tuple[Token, ...]:
    if token_bytes is None:
        return ()
    return tuple(
        Token(
            token.id,
            token_bytes(token.id),
            token.logprob,
            tuple(TopToken(top.id, token_bytes(top.id), top.logprob) for top in token.top),
        )
        for token in event.tokens
    )


def _done(
    event: _core.DoneEvent, warnings: tuple[str, ...], read_ms: float, tokens: tuple[Token, ...]
) -> Done:
    core = event.timings
    timings = Timings(
        read_ms=read_ms,
        encode_ms=core.encode_ms,
        prefill_ms=core.prefill_ms,
        first_token_ms=read_ms + core.first_token_ms,
        decode_ms=core.decode_ms,
        video_ms=core.video_ms,
        total_ms=read_ms + core.total_ms,
        queue_ms=core.queue_ms,
    )
    return Done(
        event.prompt_tokens,
        event.new_tokens,
        event.finish_reason,
        timings,
        warnings,
        event.video_frames,
        event.encoded_frames,
        event.cached_tokens,
        tokens,
        event.drafted_tokens,
        event.accepted_tokens,
    )


def reply_of(events: Iterable[Event]) -> Reply:
    """The result of a whole turn. Raises `InternalError` where its last event is missing."""
    pieces: list[str] = []
    videos: list[Video] = []
    withheld: list[Withheld] = []
    failed: list[VideoFailed] = []
    tokens: list[Token] = []
    refused = False
    done: Done | None = None
    for event in events:
        if isinstance(event, Text):
            pieces.append(event.text)
            tokens += event.tokens
        elif isinstance(event, Video):
            videos.append(event)
        elif isinstance(event, Withheld):
            withheld.append(event)
        elif isinstance(event, VideoFailed):
            failed.append(event)
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
        tokens=(*tokens, *done.tokens),
        cached_tokens=done.cached_tokens,
        failed=tuple(failed),
    )


def _picture(frames: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8] | None:
    return None if frames is None else frames[0]


_PUBLIC: dict[str, Callable[[Any], Event]] = {
    "VideoPromptEvent": lambda e: VideoPrompt(e.index, e.caption),
    "ProgressEvent": lambda e: Progress(e.index, e.step, e.steps, _picture(e.preview)),
    "VideoFramesEvent": lambda e: VideoFrames(e.index, e.first, e.total, e.frames, e.fps),
    "VideoEvent": lambda e: Video(e.frames, e.fps, e.caption, e.index, e.seed),
    "WithheldEvent": lambda e: Withheld(e.index, e.caption, e.unsafe, e.frames),
    "VideoFailedEvent": lambda e: VideoFailed(e.index, e.caption, error_for_code(e.code)(e.message)),
    "RefusalEvent": lambda e: Refusal(e.text),
}
