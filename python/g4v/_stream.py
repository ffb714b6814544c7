"""The events of the core as those of g4v.events."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from .events import Done, Event, Progress, Refusal, Text, Timings, Video, VideoPrompt, Withheld

if TYPE_CHECKING:
    from . import _core

# How long one wait for an event lasts, in seconds. Python runs signal handlers (Ctrl-C) between the waits; an
# event ends a wait at once.
_WAIT = 0.05


def public_events(
    stream: _core.Stream, warnings: tuple[str, ...] = (), read_ms: float = 0.0
) -> Generator[Event, None, None]:
    """The events of a turn. Closing the generator stops the turn and waits until it has stopped.

    warnings: of reading the video. read_ms: milliseconds that reading took. Both go into the `Done`.
    """
    noted = list(warnings)
    try:
        for event in _core_events(stream):
            kind = type(event).__name__
            if kind == "WarningEvent":
                noted.append(event.text)
            elif kind == "DoneEvent":
                yield _done(event, tuple(noted), read_ms)
            else:
                yield _PUBLIC[kind](event)
    finally:
        # Also waits until the turn has stopped, so that the next one may start.
        stream.close()


def _core_events(stream: _core.Stream) -> Iterator[Any]:
    while True:
        try:
            event = stream.next(_WAIT)
        except TimeoutError:
            continue
        if event is None:
            return
        yield event


def _done(event: _core.DoneEvent, warnings: tuple[str, ...], read_ms: float) -> Done:
    core = event.timings
    timings = Timings(
        read_ms=read_ms,
        encode_ms=core.encode_ms,
        prefill_ms=core.prefill_ms,
        first_token_ms=read_ms + core.first_token_ms,
        decode_ms=core.decode_ms,
        video_ms=core.video_ms,
        total_ms=read_ms + core.total_ms,
    )
    return Done(
        event.prompt_tokens,
        event.new_tokens,
        event.finish_reason,
        timings,
        warnings,
        event.video_frames,
        event.encoded_frames,
    )


_PUBLIC: dict[str, Callable[[Any], Event]] = {
    "TextEvent": lambda e: Text(e.text),
    "VideoPromptEvent": lambda e: VideoPrompt(e.index, e.caption),
    "ProgressEvent": lambda e: Progress(e.index, e.step, e.steps),
    "VideoEvent": lambda e: Video(e.frames, e.fps, e.caption, e.index, e.seed),
    "WithheldEvent": lambda e: Withheld(e.index, e.caption, e.unsafe, e.frames),
    "RefusalEvent": lambda e: Refusal(e.text),
}
