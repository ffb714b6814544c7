"""The C++ core as Python sees it. Private to the package: g4v/__init__.py is the public face.

Methods that wait release the GIL. Errors are the classes of g4v/errors.py.
"""

import os
from collections.abc import Callable, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import testing as testing

# A name of any bytes: what is no UTF-8 comes as os.fsdecode gives it, or as bytes.
StrPath = str | bytes | os.PathLike[str]

__version__: str
BUNDLE_FORMAT_VERSION: int

# ONNX Runtime and the machine

def library_info(path: StrPath = "", directories: Sequence[StrPath] = ()) -> dict[str, object]: ...
def resolve_device(
    device: str, path: StrPath = "", directories: Sequence[StrPath] = ()
) -> tuple[str, str]: ...
def probe_device(device: str, path: StrPath = "", directories: Sequence[StrPath] = ()) -> None: ...
def resolve_targets(
    device: str,
    wanted: Set[str],
    provider_dirs: Sequence[StrPath] = (),
    path: StrPath = "",
    directories: Sequence[StrPath] = (),
) -> tuple[str, list[tuple[str, str]], dict[str, str]]: ...
def preload_cuda_libraries(roots: Sequence[StrPath]) -> list[str]: ...
def usable_cores() -> int: ...

# Bundles and frames

def check_bundle(directory: StrPath, verify: str = "auto") -> bool: ...
def resize_frames(
    frames: NDArray[np.uint8], height: int, width: int
) -> NDArray[np.uint8]: ...  # [T, H, W, 3] to [T, height, width, 3], as Pillow's LANCZOS
def preprocess(
    frames: NDArray[np.uint8],
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    resampling: str = "bicubic",  # or "lanczos"
    longest_edge: int = 0,  # to which frames are resized first; 0: they are not
    shortest_edge: int = 0,  # to which frames are resized, and then cropped to their middle; 0: not
) -> NDArray[np.float32]: ...

# Kernels: g4v.ops

def cross_attention(
    q: object,
    k_own: object,
    v_own: object,
    k_mem: object,
    v_mem: object,
    mem_len: object,
    scale: float,
    out: object,
    stream: int | None,
    allocate: Callable[[int], object] | None,
    version: str,
) -> None: ...
def kernel_versions(all: bool = False) -> list[str]: ...
def set_kernel_threads(count: int) -> None: ...
def cuda_kernels() -> dict[str, Any]: ...

# Options: None means the bundle's default. ArgumentError names an option that is out of range.

class CpuKvCache:
    """Keys and values of one conversation."""

    @property
    def length(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    def truncate(self, length: int) -> None: ...
    def copy(self) -> CpuKvCache: ...

class CpuModel:
    """The core's own decoder on a file of packed weights. BundleError: the file does not fit the sizes."""

    def __init__(
        self,
        path: str,
        *,
        vocab_size: int,
        hidden_size: int,
        layers: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        context_length: int,
        threads: int = 1,
        kv_dtype: str = "auto",
    ) -> None: ...
    def new_cache(self) -> CpuKvCache: ...
    def step(
        self, conversations: Sequence[tuple[CpuKvCache, NDArray[np.float32]]]
    ) -> list[NDArray[np.float32]]: ...  # rows [n, hidden_size] of each; logits [vocab_size] after them

class TextOptions:
    max_new_tokens: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    repetition_penalty: float | None
    def __init__(
        self,
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
    ) -> None: ...

class VideoOptions:
    seed: int | None  # Assistant.generate only; None is drawn at random
    frames: int | None
    width: int | None
    height: int | None
    fps: float | None
    steps: int | None
    guidance_scale: float | None
    negative_prompt: str | None
    scheduler: str | None  # a sampler that the bundle lists
    latents: NDArray[np.float32] | None  # [channels, frames, height, width]; Assistant.generate only
    video: NDArray[np.uint8] | None  # [T or 1, H, W, 3], what it is made from; Assistant.generate only
    strength: float | None  # with video
    preview_every: int | None  # steps; 0 is never
    stream_frames: bool | None
    prompt_weighting: bool | None  # Assistant.generate only
    def __init__(
        self,
        *,
        seed: int | None = None,
        frames: int | None = None,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        scheduler: str | None = None,
        latents: NDArray[np.float32] | None = None,
        video: NDArray[np.uint8] | None = None,
        strength: float | None = None,
        preview_every: int | None = None,
        stream_frames: bool | None = None,
        prompt_weighting: bool | None = None,
    ) -> None: ...

# Events of a stream, in csrc/chat/event.h

class TopToken:
    id: int
    logprob: float

class SampledToken:
    id: int
    logprob: float | None  # natural logarithm, of the logits as they are; None: was not asked for
    top: list[TopToken]

class TextEvent:
    text: str
    tokens: list[SampledToken]  # since the TextEvent before

class VideoPromptEvent:
    index: int
    caption: str

class ProgressEvent:
    index: int
    step: int
    steps: int
    preview: NDArray[np.uint8] | None  # [1, H, W, 3], read-only, owns its memory

class VideoFramesEvent:
    index: int
    first: int
    total: int
    frames: NDArray[np.uint8]  # [T, H, W, 3], read-only, owns its memory
    fps: float

class VideoEvent:
    index: int
    caption: str
    frames: NDArray[np.uint8]  # [T, H, W, 3], read-only, owns its memory
    fps: float
    seed: int

class WithheldEvent:
    index: int
    caption: str
    unsafe: int
    frames: int

class VideoFailedEvent:
    index: int
    caption: str
    code: int  # of g4v/errors.py
    message: str

class RefusalEvent:
    text: str

class WarningEvent:
    text: str

class Timings:
    queue_ms: float
    encode_ms: float
    prefill_ms: float
    first_token_ms: float
    decode_ms: float
    video_ms: float
    total_ms: float

class DoneEvent:
    prompt_tokens: int
    cached_tokens: int
    new_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    tokens: list[SampledToken]  # since the last TextEvent
    video_frames: int
    encoded_frames: int
    finish_reason: str  # "stop", "length", "context" or "memory"
    timings: Timings

Event = (
    TextEvent
    | VideoPromptEvent
    | ProgressEvent
    | VideoEvent
    | WithheldEvent
    | VideoFailedEvent
    | RefusalEvent
    | WarningEvent
    | DoneEvent
)

class Stream:
    """Iterates over the events. Raises the turn's error once, Cancelled after cancel()."""

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None after the last one. TimeoutError where none came in `timeout` seconds: waiting
        in short slices lets Python handle signals."""
    def cancel(self) -> None: ...
    def close(self) -> None:
        """Cancels and waits until the turn has stopped. Later calls of next() return None."""
    def __iter__(self) -> Stream: ...
    def __next__(self) -> Event: ...

class Limits:
    """0 means no limit; the meaning of each is in `g4v.load`."""

    max_decoded_bytes: int
    max_prompt_tokens: int
    max_chat_kv_bytes: int
    max_turn_ms: int
    max_videos: int
    max_video_pixels: int

    def __init__(self, **fields: int) -> None: ...

class Chat:
    def send(
        self,
        text: str | bytes,
        frames: NDArray[np.uint8] | None = None,  # C-contiguous [T, H, W, 3]
        text_options: TextOptions | None = None,
        video_options: VideoOptions | None = None,
        question_frames: int | None = None,
        seed: int | None = None,
        stop: Sequence[str | bytes] = (),
        logprobs: int | None = None,
        make_videos: bool = True,
        max_turn_ms: int = 0,
        max_videos: int = 0,
        spent_ms: float = 0.0,  # of max_turn_ms, before the call
        frame_times: tuple[Sequence[float], float] | None = None,  # of each frame and the whole, seconds
    ) -> Stream: ...
    def append(
        self,
        text: str | bytes,
        answer: str | bytes,
        frames: NDArray[np.uint8] | None = None,  # C-contiguous [T, H, W, 3]
        question_frames: int | None = None,
        frame_times: tuple[Sequence[float], float] | None = None,
    ) -> None: ...
    def fork(self, seed: int | None = None) -> Chat: ...
    def truncate(self, turns: int) -> None: ...
    def cancel(self) -> None: ...
    @property
    def turns(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def context_used(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    @property
    def seed(self) -> int: ...

class VideoJob:
    """A video that a generator written in Python makes; g4v/generators.py describes it."""

    @property
    def caption(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def frames(self) -> int | None: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def guidance_scale(self) -> float | None: ...
    @property
    def negative_prompt(self) -> str | None: ...
    @property
    def cancelled(self) -> bool: ...
    def progress(self, step: int, steps: int) -> None: ...
    def wait(self, seconds: float) -> bool: ...

class Assistant:
    @staticmethod
    def load(
        directory: StrPath,
        *,
        device: str = "auto",
        threads: int = 0,
        onnxruntime: StrPath = "",
        library_dirs: Sequence[StrPath] = (),
        verify: str = "auto",
        frame_checker: Callable[[NDArray[np.uint8]], ArrayLike] | None = None,
        provider_dirs: Sequence[StrPath] = (),
        cuda_graphs: bool = False,
        turns: int = 16,
        kv_memory: int = 0,
        kv_dtype: str = "auto",
        spin_us: int = 200,
        prompt_lookup: int = 5,
        limits: Limits = ...,
        generator: Callable[[VideoJob], tuple[NDArray[np.uint8], float]] | None = None,
    ) -> Assistant: ...
    def chat(
        self,
        *,
        seed: int | None = None,
        text_options: TextOptions | None = None,
        video_options: VideoOptions | None = None,
        system: str | bytes | None = None,
    ) -> Chat: ...
    def generate(self, prompt: str | bytes, options: VideoOptions | None = None) -> Stream: ...
    def check_source(self, options: VideoOptions) -> tuple[int, int, int]:
        """(frames, height, width) that options.video must have, or one frame of them; it is not looked at
        itself. Refuses the other options as `generate` does, and bundles without a VAE encoder.
        """
    def score_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """C-contiguous uint8 [T, H, W, 3] -> [T], 0 to 1; empty where nothing checks."""
    def info(self) -> str:
        """JSON; the keys are in csrc/chat/assistant.h."""
    @property
    def kv_bytes(self) -> int: ...
    def token_bytes(self, id: int) -> bytes: ...
    def wait_until_ready(self) -> None: ...

class Tokenizer:
    """A tokenizer of a bundle. ArgumentError for text that is not UTF-8, BundleError for damaged data."""

    def __init__(self, json_text: str) -> None: ...
    def encode(self, text: str, first_segment: bool = True) -> list[int]: ...
    def encode_batch(self, texts: Sequence[str], first_segment: bool = True) -> list[list[int]]: ...
    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str: ...
    def decode_batch(self, batch: Sequence[Sequence[int]], skip_special: bool = True) -> list[str]: ...
    def token_id(self, special: str) -> int | None: ...
    @property
    def vocab_size(self) -> int: ...
