"""An assistant without a model: the public API, with answers that follow from the question's first word.

    "say X"     answers X, a word at a time
    "show X"    answers "Look: ", asks for a video of X, and says " Done."
    "refuse"    refuses
    "wait"      says "Wait" and then nothing until it is cancelled
    "pause"       says "Wait" and, after 0.3 s, nothing more
    "fill"      the memory of all chats is full
    "long"      the context is full
    "break"     fails in the middle
    else        "You said: " and the question
A video of "slow ..." takes a step each 10 ms, of "unsafe ..." is withheld, of "broken ..." fails.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from g4v import errors
from g4v.events import (
    Done,
    Event,
    Progress,
    Refusal,
    Text,
    Timings,
    Token,
    TopToken,
    Video,
    VideoPrompt,
)

TOKENS = 10  # bytes of memory for each exchange


class Events:
    """As g4v._stream.Events."""

    def __init__(self, script: Iterator[Event | float | Exception], commit: Any = None) -> None:
        self._script, self._commit = script, commit
        self._until = 0.0
        self._cancelled = threading.Event()
        self.ended = False
        self.closed = False

    def poll(self, seconds: float) -> Event | None:
        left = self._until - time.monotonic()
        if self._cancelled.wait(min(max(left, 0), seconds)):
            raise errors.Cancelled("the turn was cancelled")
        if time.monotonic() < self._until:
            return None
        step = next(self._script, None)
        if step is None:
            self.ended = True
            if self._commit:
                self._commit()
            return None
        if isinstance(step, Exception):
            raise step
        if isinstance(step, float):
            self._until = time.monotonic() + step
            return None
        return step

    def cancel(self) -> None:
        self._cancelled.set()

    def close(self) -> None:
        self.closed = True


class Chat:
    """As g4v.Chat."""

    def __init__(self, assistant: Assistant, system: str | None, history: list[Any] | None = None) -> None:
        self.assistant, self.system = assistant, system
        self.history: list[tuple[str, str, Any]] = list(history or ())
        self.computed = 0  # exchanges whose keys are there
        self.options: dict[str, Any] = {}
        assistant.chats.append(self)

    def append(self, text: str, answer: str, video: Any = None, *, frames: int | None = None) -> None:
        if "too long" in text:
            raise errors.ContextFull("the exchange does not fit into the context")
        self.history.append((text, answer, read(video)))

    def fork(self, seed: int | None = None) -> Chat:
        other = Chat(self.assistant, self.system, self.history)
        other.computed = self.computed
        return other

    def truncate(self, turns: int) -> None:
        if not 0 <= turns <= len(self.history):
            raise errors.ArgumentError("turns is out of range")
        del self.history[turns:]
        self.computed = min(self.computed, turns)

    @property
    def turns(self) -> int:
        return len(self.history)

    @property
    def bytes(self) -> int:
        return TOKENS * len(self.history)

    def cancel(self) -> None:
        pass

    def _start(self, text: str, video: Any = None, **options: Any) -> Events:
        self.options = options
        shown = read(video)
        word, _, rest = text.partition(" ")
        if not text.strip():
            raise errors.ArgumentError("the prompt is empty; say something")
        if shown == b"no video":
            raise errors.VideoError("the video cannot be opened as a video")
        if word == "long":
            raise errors.ContextFull("the prompt does not fit into what is left of the context")
        said: list[str] = []

        def script() -> Iterator[Event | float | Exception]:
            for event in self._answer(word, rest, text):
                if isinstance(event, Text):
                    said.append(event.text)
                elif isinstance(event, VideoPrompt):
                    said.append(f"<video>{event.caption}</video>")
                yield event
            cached = TOKENS * self.computed
            new = TOKENS * (len(self.history) - self.computed) + 3
            timings = Timings(decode_ms=1.0)
            reason = "memory" if word == "fill" else "stop"
            yield done(
                prompt_tokens=new, new_tokens=4, finish_reason=reason, timings=timings, cached_tokens=cached
            )

        def commit() -> None:
            self.history.append((text, "".join(said), shown))
            self.computed = len(self.history)

        return Events(script(), commit)

    def _answer(self, word: str, rest: str, text: str) -> Iterator[Event | float | Exception]:
        if word == "say":
            for piece in rest.split(" "):
                yield piece_of(piece + " ")
        elif word == "show":
            yield piece_of("Look: ")
            yield VideoPrompt(0, rest)
            yield piece_of(" Done.")
        elif word == "videos":
            for index in range(int(rest)):
                yield VideoPrompt(index, f"star {index}")
        elif word == "late":
            yield errors.DeadlineExceeded("the turn took longer than max_turn_ms, 5 milliseconds")
        elif word == "refuse":
            yield piece_of("I am sorry.")
            yield Refusal("I am sorry.")
        elif word == "wait":
            yield piece_of("Wait")
            yield 60.0
        elif word == "fill" and self.assistant.full:
            self.assistant.full = False
            yield errors.ContextFull("keys and values of all chats take 9 bytes, and kv_memory is 9")
        elif word == "pause":
            yield piece_of("Wait")
            yield 0.3
        elif word == "break":
            yield piece_of("Br")
            yield errors.RuntimeUnavailable("ONNX Runtime failed")
        else:
            yield piece_of("You said: ")
            yield piece_of(text)


class Assistant:
    """As g4v.Assistant. made: the options of each video. full: the next "fill" finds no memory."""

    name, device = "fake", "cpu"

    def __init__(self) -> None:
        self.chats: list[Chat] = []
        self.made: list[dict[str, Any]] = []
        self.sources: list[tuple[bytes, bool, dict[str, Any]]] = []
        self.full = False
        self.kv_bytes = 0

    @property
    def info(self) -> dict[str, Any]:
        video = {"frames": 8, "width": 64, "height": 64, "fps": 8.0, "steps": 4}
        return {"context_length": 1024, "frame_samples": 8, "video": video}

    def wait_until_ready(self) -> None:
        pass

    def chat(self, seed: int | None = 0, *, system: str | None = None, **options: Any) -> Chat:
        if options.get("width", 8) % 8:
            raise errors.ArgumentError(f"width is {options['width']} but must be a multiple of 8")
        return Chat(self, system)

    def _read_source(self, video: Any, picture: bool = False, **values: Any) -> tuple[Any, tuple[str, ...]]:
        data = read(video)
        assert data is not None
        self.sources.append((data, picture, values))
        if values.get("strength") == 0:
            raise errors.ArgumentError("strength is 0 but must be above 0 and at most 1")
        if data == b"no video":
            raise errors.VideoError("the video cannot be opened as a video")
        if data == b"no encoder":
            raise errors.BundleError("this bundle has no vae_encoder")
        return np.zeros((1, 16, 16, 3), np.uint8), ()

    def _start_video(self, prompt: str, **values: Any) -> Events:
        self.made.append({"prompt": prompt} | values)

        def script() -> Iterator[Event | float | Exception]:
            steps = 200 if prompt.startswith("slow") else 4
            for step in range(1, steps + 1):
                yield 0.01 if steps > 4 else 0.0
                yield Progress(0, step, steps)
            if prompt.startswith("unsafe"):
                yield errors.UnsafeVideo("the video is withheld: 8 of its 8 frames look unsafe")
            if prompt.startswith("broken"):
                yield errors.RuntimeUnavailable("ONNX Runtime failed")
            frames = np.zeros((values.get("frames", 2), 16, 16, 3), np.uint8)
            yield Video(frames, 8.0, prompt, 0, values["seed"])

        return Events(script())


def read(video: Any) -> bytes | None:
    return None if video is None else bytes(video) if isinstance(video, bytes) else video.read()


def piece_of(text: str) -> Text:
    return Text(text, tokens=(Token(7, text.encode(), -0.5, (TopToken(7, text.encode(), -0.5),)),))


def done(**values: Any) -> Done:
    return Done(**values, tokens=())
