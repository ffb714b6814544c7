"""Loading an assistant, starting chats, and making videos with it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._options import checked, load_limits, text_bytes, text_options, video_options
from ._runtime import find_bundle, load_core_assistant
from ._sampling import FrameSampling
from ._stream import Events, public_events
from .chat import Chat
from .errors import ArgumentError, InternalError
from .events import Done, Progress, Video, VideoFrames
from .generators import RemoteGenerator, generator_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from . import _core
    from .frame_checkers import FrameChecker
    from .generators import Generator
    from .video import Source


def load(
    name_or_dir: str | os.PathLike[str] = "tiny",
    device: str = "auto",
    threads: int | None = None,
    verify: str = "auto",
    frame_checker: FrameChecker | None = None,
    cuda_graphs: bool = False,
    *,
    turns: int = 16,
    kv_memory: int = 0,
    kv_dtype: str = "auto",
    spin_us: int = 200,
    prompt_lookup: int = 5,
    max_decoded_bytes: int = 1 << 30,
    max_prompt_tokens: int = 0,
    max_chat_kv_bytes: int = 0,
    max_turn_ms: int = 0,
    max_videos: int = 8,
    max_video_pixels: int = 1 << 28,
    generator: str | Generator | None = None,
) -> Assistant:
    """Loads an assistant from an embedded bundle ("tiny") or from a bundle directory.

    Args:
        name_or_dir: name of an embedded bundle, or a folder that holds a g4v.json.
        device: "cpu", "cuda", or "auto": GPUs for what can run on them here, the CPU for the rest. On GPUs a
            component runs as TensorRT engine where the bundle has one that can be used, else with CUDA;
            `Assistant.info` says which it is, and why others are not used. "cuda" never falls back.
        threads: CPU threads of one operator; None for one per core.
        verify: which files are checked against their SHA-256: "auto" those of small bundles (up to 256 MB),
            "full" all, "size" none. Sizes are always checked.
        frame_checker: looks at every generated video before it is returned, beside the bundle's own checker.
            It is called with uint8 frames [T, H, W, 3] on a thread of the core and returns how unsafe each
            frame is, T numbers from 0 to 1. Where the share of frames at 0.5 and above is larger than the
            bundle's limit (0.4 where the bundle has none), the video is withheld. An exception ends the turn.
        cuda_graphs: runs the abstractor as CUDA graphs, one captured for each number of frames of a video.
            Refused where another provider than CUDA runs the abstractor; a turn whose capture fails ends with
            `RuntimeUnavailable`. It has not been measured on a GPU yet.
        turns: how many turns of all chats are answered at once, 1 to 1024; others wait, the first first. They
            share the steps of the decoder, so that many together take less time than one after the other.
        kv_memory: bytes that the keys and values of all chats may take; 0 for no limit. Turns that need more
            are refused with `ContextFull`, and an answer that comes to the limit ends there.
        kv_dtype: of keys and values: "float32", "float16", "int8" (codes with one float32 scale for each
            token and head: about half the memory of "float16", and less exact), or "auto" for "float32"
            where the decoder's weights are floats and "float16" where they are codes of 4 or 8 bits.
        spin_us: microseconds, 0 to 1000000, that the decoder's threads wait awake for the next step. A
            shorter time leaves the processor to others, a longer one saves waking up.
        prompt_lookup: most tokens, 0 to 15, that are guessed from what the conversation said before, to be
            computed in one step; the answers are the same with any number.

        max_decoded_bytes: bytes of the frames of a question's video that are looked at, uint8 RGB. Above it
            the turn is refused with `VideoError`. In this and the next five, 0 stands for no limit.
        max_prompt_tokens: tokens, up to 16777216, that an answer follows: those of the chat so far and of the
            question, video tokens among them. Above it a turn is refused with `ContextFull`, as it is above
            the model's context in any case.
        max_chat_kv_bytes: bytes that the keys and values of one chat may take, those that it shares with
            forks among them. A question that needs more is refused with `ContextFull`, and an answer that
            comes to the limit ends there.
        max_turn_ms: milliseconds, up to 1073741824, from `Chat.send` to the end of a turn, waiting, reading
            and videos included. Then the turn ends with `DeadlineExceeded`, and the chat is as before it.
        max_videos: how many videos are made of one answer, up to 16777216. Further captions are told, and a
            warning says that no videos were made of them.
        max_video_pixels: frames x height x width of a video that is made; above it it is refused with
            `ArgumentError`.

        generator: makes the videos in place of the bundle's own text-to-video components, which are not
            loaded then; a bundle without them can so answer with videos. The URL of another server's
            /v1/videos, such as "https://host/v1/videos", stands for `RemoteGenerator(url)`: captions are sent
            there. Or a callable, as `g4v.generators` describes it. What it does not make is `VideoFailed` in
            a chat, and its error in `Assistant.generate`. What is of the bundle's own generator, such as
            `scheduler`, `latents`, previews and prompt weighting, is refused with it.

        `kv_memory`, `kv_dtype`, `spin_us` and `prompt_lookup` are for decoders that g4v runs itself, which
        `Assistant.info` tells by the provider "g4v". Others refuse the first two, and do without the rest.

    Raises:
        BundleError: the bundle is missing, damaged, of another kind, or newer than this g4v.
        RuntimeUnavailable: there is no ONNX Runtime, or not the device asked for.
        ArgumentError: an argument has a wrong type or value.
    """
    directory = find_bundle(name_or_dir)
    values = checked("device", device), checked("threads", threads), checked("verify", verify)
    if frame_checker is not None and not callable(frame_checker):
        raise ArgumentError(f"frame_checker must be callable, not {type(frame_checker).__name__}")
    if not isinstance(cuda_graphs, bool):
        raise ArgumentError(f"cuda_graphs is {cuda_graphs!r}; it must be True or False")
    decoding: dict[str, Any] = {
        "turns": turns,
        "kv_memory": kv_memory,
        "kv_dtype": kv_dtype,
        "spin_us": spin_us,
        "prompt_lookup": prompt_lookup,
    }
    for name, value in decoding.items():
        if value is None:
            raise ArgumentError(f"{name} is None; leave it out for its default")
        decoding[name] = checked(name, value)
    limits = load_limits(
        max_decoded_bytes=max_decoded_bytes,
        max_prompt_tokens=max_prompt_tokens,
        max_chat_kv_bytes=max_chat_kv_bytes,
        max_turn_ms=max_turn_ms,
        max_videos=max_videos,
        max_video_pixels=max_video_pixels,
    )
    made_by = generator_of(generator)
    core = load_core_assistant(
        directory, *values, frame_checker, cuda_graphs, made_by, **decoding, limits=limits
    )
    return Assistant(core, made_by.url if isinstance(made_by, RemoteGenerator) else None)


class Assistant:
    """A loaded assistant, made by `load`: start chats with `chat`, make videos with `generate`.

    One assistant serves any number of chats from any number of threads.
    """

    def __init__(self, core: _core.Assistant, generator: str | None = None) -> None:
        self._core = core
        self._info: dict[str, Any] = json.loads(core.info())
        if generator is not None:
            self._info["generator"] = generator

    @property
    def info(self) -> dict[str, Any]:
        """What was loaded, as plain values in a new dictionary.

        Name, device, ONNX Runtime, components with their providers, limits, defaults of the generation, and
        licences. With a generator of `load`, "generator" is its URL, or "host" for a callable, and "video",
        the defaults of the bundle's own, is not there.
        """
        return json.loads(json.dumps(self._info))  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        """The bundle's name."""
        return str(self._info["name"])

    @property
    def device(self) -> str:
        """The device it runs on: "cpu" or "cuda"."""
        return str(self._info["device"])

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values of all chats; what chats share counts once.

        0 where ONNX Runtime runs the decoder.
        """
        return self._core.kv_bytes

    def __repr__(self) -> str:
        return f"<g4v.Assistant {self.name!r} on {self.device}>"

    def wait_until_ready(self) -> None:
        """Waits for the components that load in the background (those of text-to-video).

        Raises:
            BundleError: a file of a component is damaged.
            RuntimeUnavailable: ONNX Runtime cannot load a component.
        """
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
        system: str | None = None,
        preview_every: int | None = None,
        stream_frames: bool | None = None,
    ) -> Chat:
        """Starts a chat. None stands for the bundle's default, except for the seed.

        Args:
            seed: two chats with the same seed and the same turns give the same answers and videos; None draws
                one. The k-th video of the chat, from 0, has the seed `seed * 1000003 + k` (modulo 2**64).
            temperature: of the sampling; 0 always takes the likeliest token.
            top_k: samples from the k likeliest tokens; 0 from all.
            top_p: samples from the likeliest tokens whose probabilities sum to p.
            repetition_penalty: above 1 makes tokens that the answer already has less likely.
            max_new_tokens: limit of one answer, in tokens.
            steps: denoising steps of a video.
            guidance_scale: classifier-free guidance; larger values follow the caption more closely.
            negative_prompt: text that videos are guided away from.
            scheduler: the sampler, one of `info["video"]["schedulers"]`: some of "ddim", "dpmsolver++",
                "sde-dpmsolver++", "euler", "euler_ancestral", "unipc", "lcm" and "flow_match_euler".
            frames: frames of a generated video.
            width: of generated videos, in pixels.
            height: of generated videos, in pixels.
            system: opens the chat in place of the bundle's own system text; "" is none. Special tokens in it
                are plain text, and white space around it is taken off.
            preview_every: `Progress` comes with a small picture of what the video is becoming after each step
                whose number is a multiple of it; 0 to 1048576, 0 and None for never. Videos are the same with
                it. A frame checker looks at each picture first; one that it refuses withholds the video.
            stream_frames: True: frames of a video come as `VideoFrames` as they are decoded, before the
                `Video`. A frame checker looks at them first, in the groups in which they come, and at the
                whole again; a group that it refuses withholds the video.

        Raises:
            ArgumentError: an option has a wrong type or is out of range; the message has the range.
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
            preview_every=preview_every,
            stream_frames=stream_frames,
        )
        chat = self._core.chat(
            seed=checked("seed", seed),
            text_options=text,
            video_options=video,
            system=None if system is None else text_bytes("system", system),
        )
        samples = int(self._info.get("frame_samples") or 8)
        most = int(self._info.get("most_frame_samples") or samples)
        by_time = self._info.get("frame_sampling") or {}
        sampling = FrameSampling(samples, **by_time)
        return Chat(chat, sampling, most, self._core.token_bytes, self._info["limits"])

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
        fps: float | None = None,
        latents: npt.ArrayLike | None = None,
        video: Source | Video | None = None,
        strength: float | None = None,
        preview_every: int | None = None,
        on_preview: Callable[[npt.NDArray[np.uint8], int, int], object] | None = None,
        on_frames: Callable[[VideoFrames], object] | None = None,
        prompt_weighting: bool = False,
    ) -> Video:
        """Makes a video from a caption, or from a caption and a video or a picture.

        The same seed and options make the same video on the same machine.

        Args:
            prompt: the caption, what the video shall show.
            seed: of the first noise; None draws one, which `Video.seed` tells.
            steps: denoising steps; None for the bundle's default, as for all options below.
            guidance_scale: classifier-free guidance; larger values follow the caption more closely.
            on_progress: called as on_progress(step, steps) after each denoising step, step from 1 to steps.
                An exception in it stops the work, as Ctrl-C does.
            negative_prompt: text that the video is guided away from.
            scheduler: the sampler, one of `info["video"]["schedulers"]`: some of "ddim", "dpmsolver++",
                "sde-dpmsolver++", "euler", "euler_ancestral", "unipc", "lcm" and "flow_match_euler".
            frames: number of frames; of Wan 2.1 1 more than a multiple of 4, of LTX-Video of 8.
            width: in pixels; of Wan 2.1 a multiple of 16, of LTX-Video of 32.
            height: in pixels, likewise.
            fps: frames a second that the video is to be played at, above 0, at most 1000: a label of the
                result, which LTX-Video reads too, so that what it shows moves at that speed.
            latents: what the video starts from in place of the noise of the seed, to compare with other
                pipelines: float32 [channels, frames, height / s, width / s], s pixels of a side being one
                latent (8 in most models, 32 in LTX-Video); of Wan 2.1 its latent frames,
                (frames - 1) / 4 + 1, and of LTX-Video (frames - 1) / 8 + 1. In diffusers they are
                `latents[0]`, which LTXPipeline takes packed. With `video` they are the noise that is added to
                it.
            video: a video or a picture to make this one from: it is encoded, noise is added as much as
                `strength` says, and the rest of the steps follow the caption. A path, the bytes of a file or
                a binary file: its frames are sampled and resized (Lanczos) to those of the video. A `Video`
                that was made, of as many frames: it is resized. Or uint8
                [T, H, W, 3], which must have the video's own frames and size, or [1, H, W, 3] or [H, W, 3]
                for a picture, which stands for all frames. Needs a bundle with a VAE encoder
                ("vae_encoder" in `info["components"]`).
            strength: above 0, at most 1: int(steps * strength) steps are done; less keeps more of `video`.
                0.6 where it is None. Needs `video`.
            preview_every: with `on_preview`: after each step whose number is a multiple of it, 1 to 1048576;
                None is 1, and 0 never.
            on_preview: called as on_preview(picture, step, steps) with what the video is becoming after a
                step: one frame from its middle, uint8 [H, W, 3], RGB, the longest edge at most 128 pixels.
                The video is the same with it. A frame checker looks at each picture first; one that it
                refuses withholds the video.
            on_frames: called with a `VideoFrames` for each group of frames as it is decoded, in order, before
                `generate` returns them all. A frame checker looks at each group first, and at the whole
                again; a group that it refuses withholds the video. An exception in it or in `on_preview`
                stops the work, as in `on_progress`.
            prompt_weighting: True: caption and negative prompt have weights as compel reads them: "(some
                words)1.3", "word++" (1.1 times each) and "word--" (0.9 times each), 0 to 10, brackets nested.
                A backslash makes a bracket or sign text. False: all of it is text.

        Raises:
            ArgumentError: the prompt is empty or its weights are malformed, an option has a wrong type or is
                out of range, latents has another type or shape or a number that is not finite, video has
                other sizes, or an option is one of the bundle's own generator and `load` was given another.
            BundleError: the bundle makes no videos, or none from a video.
            GeneratorError: the generator given to `load` made no video.
            VideoError: the file of `video` cannot be read.
            UnsafeVideo: a frame checker withholds the video.
            RuntimeUnavailable: ONNX Runtime fails.
        """
        values: dict[str, Any] = {
            "seed": seed,
            "steps": steps,
            "guidance_scale": guidance_scale,
            "negative_prompt": negative_prompt,
            "scheduler": scheduler,
            "frames": frames,
            "width": width,
            "height": height,
            "fps": fps,
            "strength": strength,
            **self._watching(preview_every, on_preview, on_frames),
            "prompt_weighting": checked("prompt_weighting", prompt_weighting) or None,
        }
        source, told = (None, ()) if video is None else self._read_source(video, **values)
        events = self._start_video(prompt, latents, source, **values)
        made: Video | None = None
        warnings: tuple[str, ...] = ()
        for event in public_events(events):
            if isinstance(event, Progress):
                if on_progress is not None:
                    on_progress(event.step, event.steps)
                if on_preview is not None and event.preview is not None:
                    on_preview(event.preview, event.step, event.steps)
            elif isinstance(event, VideoFrames) and on_frames is not None:
                on_frames(event)
            elif isinstance(event, Video):
                made = event
            elif isinstance(event, Done):
                warnings = event.warnings
        if made is None:
            raise InternalError("the generator ended without a video")
        return dataclasses.replace(made, warnings=(*told, *warnings))

    def _watching(self, preview_every: int | None, on_preview: object, on_frames: object) -> dict[str, Any]:
        """The options of the core that the two functions of `generate` ask for. Raises `ArgumentError`."""
        for name, function in (("on_preview", on_preview), ("on_frames", on_frames)):
            if function is None:
                continue
            if not callable(function):
                raise ArgumentError(f"{name} must be callable, not {type(function).__name__}")
            if "generator" in self._info:
                raise ArgumentError(
                    f"{name} is of the bundle's own generator, and load was given another; leave {name} out"
                )
        if preview_every is not None and on_preview is None:
            raise ArgumentError("preview_every is for on_preview, which gets the pictures; pass it too")
        if on_preview is not None and preview_every is None:
            preview_every = 1
        return {"preview_every": preview_every, "stream_frames": None if on_frames is None else True}

    def _read_source(
        self, video: Source | Video, picture: bool = False, **values: Any
    ) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
        """What a video of these options is made from, and what is to be told of it (_source_video.py)."""
        from ._source_video import read_source

        frames, height, width = self._core.check_source(video_options(**values))
        limit = self._info["limits"]["max_decoded_bytes"]
        return read_source(video, frames, height, width, limit, picture)

    def _start_video(
        self,
        prompt: str,
        latents: npt.ArrayLike | None = None,
        source: npt.NDArray[np.uint8] | None = None,
        **values: Any,
    ) -> Events:
        """`generate`, for who reads the events of several videos.

        source: of `_read_source`. values: its other options.
        """
        options = video_options(**values)
        if latents is not None:
            options.latents = _latents_array(latents)
        if source is not None:
            options.video = source
        return Events(self._core.generate(text_bytes("the prompt", prompt), options))

    def score_frames(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """How unsafe each frame looks to the frame checkers, the largest score of all of them.

        Args:
            frames: uint8 [T, H, W, 3], RGB.

        Returns:
            float32 [T], 0 to 1; a frame at 0.5 and above counts as unsafe. Empty where neither the bundle has
            a frame checker nor one was passed to `load`.

        Raises:
            ArgumentError: another dtype or shape.
            RuntimeUnavailable: ONNX Runtime fails.
        """
        import numpy as np

        return self._core.score_frames(np.ascontiguousarray(frames))


def _latents_array(latents: Any) -> npt.NDArray[np.float32]:
    """The latents as a C-contiguous array; the core checks their sizes. ArgumentError: another type."""
    import numpy as np

    array = np.asarray(latents)
    if array.dtype != np.float32 or array.ndim != 4:
        raise ArgumentError(
            f"latents is {array.dtype} with {array.ndim} dimensions; it must be float32 "
            "[channels, frames, height, width]"
        )
    return np.ascontiguousarray(array)
