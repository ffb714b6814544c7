"""Loading an assistant, talking with it, and making videos with it."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from ._engine import find_bundle, load_core_assistant
from ._options import checked, text_bytes, text_options, video_options
from .errors import ArgumentError, InternalError
from .events import Done, Event, Progress, Refusal, Reply, Text, Timings, Video, VideoPrompt, Withheld

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from . import _core
    from .frame_checkers import FrameChecker
    from .video import Source

# How long one wait for an event lasts, in seconds. Python runs signal handlers (Ctrl-C) between the waits; an
# event ends a wait at once.
_WAIT = 0.05


def load(
    name_or_dir: str | os.PathLike[str] = "tiny",
    device: str = "auto",
    threads: int | None = None,
    verify: str = "auto",
    frame_checker: FrameChecker | None = None,
    cuda_graphs: bool = False,
) -> Assistant:
    """Loads an assistant from an embedded bundle ("tiny") or a bundle directory.

    device: "cpu", "cuda", or "auto", which takes GPUs for what can run on them here and the CPU for the rest.
    On GPUs a component runs as TensorRT engine where the bundle has one that can be used, else on CUDA;
    `Assistant.info` says which it is, and why others are not. "cuda" never falls back to the CPU. threads:
    CPU threads of one operator, None for one per core. verify: "auto" checks the SHA-256 of the files of
    small bundles (up to 256 MB), "full" of all, "size" of none; sizes are checked always. frame_checker:
    looks at every generated video before anybody sees it, beside the bundle's own checker; it is called with
    uint8 frames [T, H, W, 3] on a thread of the core and returns for each frame how unsafe it is, 0 to 1.
    Where more than the bundle's share of frames (0.4 without a say) is at 0.5 and above, the video is
    withheld. An exception of it ends the turn. cuda_graphs: the abstractor's work on the GPU is captured as
    CUDA graphs, one for each number of frames that a video has, and replayed; it is refused where no GPU or
    another provider than CUDA runs the abstractor, and a turn whose capture fails ends with
    `RuntimeUnavailable`. No GPU has run it yet: it is not measured.

    Raises `BundleError` (missing, damaged, foreign, newer), `RuntimeUnavailable` (no ONNX Runtime, no such
    device) or `ArgumentError`.
    """
    directory = find_bundle(name_or_dir)
    values = checked("device", device), checked("threads", threads), checked("verify", verify)
    if frame_checker is not None and not callable(frame_checker):
        raise ArgumentError(f"frame_checker must be callable, not {type(frame_checker).__name__}")
    if not isinstance(cuda_graphs, bool):
        raise ArgumentError(f"cuda_graphs is {cuda_graphs!r}; it must be True or False")
    return Assistant(load_core_assistant(directory, *values, frame_checker, cuda_graphs))


class Assistant:
    """A loaded assistant; `load` makes it. It serves any number of chats from any number of threads."""

    def __init__(self, core: _core.Assistant) -> None:
        self._core = core
        self._info: dict[str, Any] = json.loads(core.info())

    @property
    def info(self) -> dict[str, Any]:
        """What was loaded: name, device, ONNX Runtime, components, limits, generation defaults, licences."""
        return json.loads(json.dumps(self._info))  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        """The bundle's name."""
        return str(self._info["name"])

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda"."""
        return str(self._info["device"])

    def __repr__(self) -> str:
        return f"<g4v.Assistant {self.name!r} on {self.device}>"

    def wait_until_ready(self) -> None:
        """Waits for the parts that load in the background (the video generator); raises what went wrong."""
        self._core.wait_until_ready()

    def chat(
        self,
        seed: int | None = 0,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        max_new_tokens: int | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        scheduler: str | None = None,
        frames: int | None = None,
        width: int | None = None,
        height: int | None = None,
    ) -> Chat:
        """Starts a chat. Every option but the seed defaults to the bundle's.

        seed: two chats with one seed and the same turns give the same answers and videos; None draws one. The
        k-th video of the chat, from 0, has the seed `seed * 1000003 + k` (modulo 2**64).
        temperature: 0 takes the likeliest token. top_k: out of the k likeliest; 0 of all. top_p: out of the
        likeliest that sum to p. repetition_penalty: above 1 makes repeats rarer. max_new_tokens: limit of one
        answer. steps, guidance_scale, negative_prompt, scheduler ("ddim", "dpmsolver++"), frames, width,
        height: of the generated videos. Raises `ArgumentError` that names the option and its range.
        """
        text = text_options(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            max_new_tokens=max_new_tokens,
        )
        video = video_options(
            steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            scheduler=scheduler,
            frames=frames,
            width=width,
            height=height,
        )
        chat = self._core.chat(seed=checked("seed", seed), text_options=text, video_options=video)
        return Chat(chat, int(self._info.get("frame_samples") or 8))

    def generate(
        self,
        prompt: str,
        seed: int | None = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
        on_progress: Callable[[int, int], object] | None = None,
        *,
        negative_prompt: str | None = None,
        scheduler: str | None = None,
        frames: int | None = None,
        width: int | None = None,
        height: int | None = None,
    ) -> Video:
        """Makes a video of a caption; the same seed and options make the same video.

        on_progress(step, steps) is called after each denoising step; an exception of it stops the work, as
        Ctrl-C does. Raises `ArgumentError`, `BundleError` where the bundle makes no videos,
        `UnsafeVideo` where a frame checker withholds the video, and `RuntimeUnavailable`.
        """
        options = video_options(
            seed=seed,
            steps=steps,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            scheduler=scheduler,
            frames=frames,
            width=width,
            height=height,
        )
        stream = self._core.generate(text_bytes("the prompt", prompt), options)
        made: Video | None = None
        warnings: tuple[str, ...] = ()
        for event in _events(stream):
            if isinstance(event, Progress) and on_progress is not None:
                on_progress(event.step, event.steps)
            elif isinstance(event, Video):
                made = event
            elif isinstance(event, Done):
                warnings = event.warnings
        if made is None:
            raise InternalError("the generator ended without a video")
        return dataclasses.replace(made, warnings=warnings)

    def score_frames(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """How unsafe each frame looks to those who check generated videos.

        frames: uint8 [T, H, W, 3]. Returns float32 [T], 0 to 1; from 0.5 on a frame counts as unsafe. Empty
        where the bundle has no frame checker and none was passed to `load`. Raises `ArgumentError` and
        `RuntimeUnavailable`.
        """
        import numpy as np

        return self._core.score_frames(np.ascontiguousarray(frames))


class Chat:
    """Questions and answers with their history; `Assistant.chat` makes it. One turn is under way at a time.

    A turn that fails, is cancelled or whose iterator is closed before its end leaves the chat as it
    was before, and the chat goes on.
    """

    def __init__(self, core: _core.Chat, frame_samples: int) -> None:
        self._core = core
        self._frame_samples = frame_samples
        self._cancelled = threading.Event()

    @property
    def seed(self) -> int:
        """The seed of this chat, drawn or given."""
        return self._core.seed

    @property
    def context_used(self) -> int:
        """Tokens of the context that the finished turns take up."""
        return self._core.context_used

    @property
    def context_length(self) -> int:
        """Tokens that the context holds."""
        return self._core.context_length

    def send(self, text: str, video: Source | None = None) -> Generator[Event, None, None]:
        """Starts a turn and returns an iterator over its events; the last one is `Done`.

        text: what the user says; tags and special tokens in it are plain text. video: what it is about, a
        path, the bytes of a file, a binary file or uint8 frames [T, H, W, 3].
        The turn runs on threads of the core, whether or not the iterator is asked for the next event. Closing
        the iterator early, or Ctrl-C while it waits, cancels the turn.

        Raises at once `ArgumentError`, `VideoError`, `ContextFull` where the turn does not fit, `BundleError`
        where the bundle lacks a component; while it is iterated `Cancelled` and `RuntimeUnavailable`.
        """
        prompt = text_bytes("the prompt", text)
        cancelled = self._cancelled = threading.Event()
        frames = None
        warnings: tuple[str, ...] = ()
        read_ms = 0.0
        if video is not None:
            from .video import read_video

            started = time.perf_counter()
            frames, read = read_video(video, self._frame_samples, cancelled.is_set)
            read_ms, warnings = 1e3 * (time.perf_counter() - started), read.warnings
        stream = self._core.send(prompt, frames)
        # `cancel` sets the flag first: a cancel between the reading and `send` is seen here.
        if cancelled.is_set():
            stream.cancel()
        return _events(stream, warnings, read_ms)

    def ask(self, text: str, video: Source | None = None) -> Reply:
        """A whole turn: as `send`, but returns when it is over."""
        pieces: list[str] = []
        videos: list[Video] = []
        withheld: list[Withheld] = []
        refused = False
        done: Done | None = None
        for event in self.send(text, video):
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
        """Stops the turn that is under way, from any thread; harmless without one.

        Whoever iterates over the turn gets `Cancelled`.
        """
        self._cancelled.set()
        self._core.cancel()


def _events(
    stream: _core.Stream, warnings: tuple[str, ...] = (), read_ms: float = 0.0
) -> Generator[Event, None, None]:
    """The core's events as the public ones. Leaving it in any way stops the turn."""
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
