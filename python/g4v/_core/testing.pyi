"""Parts of the core, for tests and benchmarks alone: nothing of g4v itself uses them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from . import TextOptions, Tokenizer

# Public facts as the core has them

COMPONENTS: list[str]
SCHEDULERS: list[str]

def option_ranges() -> dict[str, tuple[int, int, bool]]:
    """Name -> (least, most, whether least itself is excluded)."""

def status_codes() -> dict[str, int]:
    """The name of a code in the C header, without "G4V_" -> its number."""

def load_defaults() -> dict[str, object]:
    """An option of loading a bundle -> its default."""

# Parts of the core by themselves

def resize(
    image: NDArray[np.uint8], height: int, width: int, resampling: str = "bicubic"
) -> NDArray[np.uint8]: ...
def spread_frames(count: int, samples: int) -> list[int]: ...
def floor_frames(count: int, samples: int) -> list[int]: ...
def frames_by_second(
    count: int, rate: float, most: int, fps: float, skip_seconds: float, floor: bool
) -> list[int]: ...
def sample_frames(count: int, samples: int) -> list[int]: ...
def multiply_add_peak(threads: int, bfloat16: bool = False) -> float: ...
def noise(seed: int, count: int, stream: int = 0) -> NDArray[np.float32]:
    """float32 [count]: how the latents of a video with this seed start (stream 0), what step k of a
    sampler adds to them (stream k + 1), or what draws the latents of a video that it is made
    from (stream 2^64 - 1); the same bits on every machine.
    """

# The prompt template. prompt: the object `prompt` of g4v.json, as JSON.

def clean_user_text(text: bytes, prompt: str) -> str: ...
def opening_ids(prompt: str, tokenizer: Tokenizer, system: str) -> list[int]: ...
def turn_ids(
    prompt: str,
    tokenizer: Tokenizer,
    system: str | None,
    text: str,
    video: bool,
    seconds: Sequence[float] = (),
    duration: float = 0.0,
) -> list[list[int]]:
    """Ids before the video, between its frames where these have texts, and after it. system: of the chat's
    first turn; None for a later turn. seconds, duration: of each frame and of the video.
    """

def sample_token(
    logits: NDArray[np.float32], answer: Sequence[int], seed: int, turn: int, options: TextOptions
) -> int: ...

class BundleAbstractor:
    """The abstractor of a bundle by itself. cuda_graphs, for device "cuda": with data that stay on the device
    and at most as many CUDA graphs; 0 launches kernel by kernel from the same memory.
    """

    def __init__(
        self,
        directory: str,
        frames: int,  # to make room for
        threads: int = 0,
        onnxruntime: str = "",
        library_dirs: Sequence[str] = (),
        device: str = "cpu",
        cuda_graphs: int | None = None,
    ) -> None: ...
    @property
    def keeps_frames(self) -> bool: ...
    @property
    def cuda_graphs(self) -> int: ...  # captured so far
    def run(
        self, features: NDArray[np.float32], keys: Sequence[int]
    ) -> tuple[NDArray[np.float32], int]: ...  # features [T, N, d]; tokens, and frames that were new

class Scheduler:
    """A sampler, one of SCHEDULERS; the settings are those of g4v.json."""

    def __init__(self, type: str, steps: int, first: int = 0, **settings: object) -> None: ...
    @property
    def timesteps(self) -> list[float]: ...
    @property
    def init_noise_sigma(self) -> float: ...
    def input_scale(self, index: int) -> float: ...
    def noise_at(self, index: int) -> tuple[float, float]: ...  # factors of image and noise in its sample
    def adds_noise(self, index: int) -> bool: ...
    def clean(
        self, index: int, prediction: NDArray[np.float32], sample: NDArray[np.float32]
    ) -> NDArray[np.float32]: ...  # the clean latents that the prediction stands for
    def step(
        self,
        index: int,
        prediction: NDArray[np.float32],
        sample: NDArray[np.float32],
        noise: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]: ...

class StreamDecoder:
    def __init__(self, tokenizer: Tokenizer) -> None: ...
    def push(self, id: int) -> str: ...
    def finish(self) -> str: ...

# Prompts with weights

def prompt_weights(text: str) -> list[tuple[str, float]]:
    """The parts of a prompt with weights, as `prompt_weighting` reads it. ArgumentError: it is malformed."""

def text_states(
    directory: str, texts: Sequence[str], weighted: bool = False, library_dirs: Sequence[str] = ()
) -> NDArray[np.float32]:
    """float32 [B, L, D] that the text encoder of a bundle makes of the texts, on one thread of the CPU."""
