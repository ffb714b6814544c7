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
def sample_frames(count: int, samples: int) -> list[int]: ...
def multiply_add_peak(threads: int, bfloat16: bool = False) -> float: ...
def noise(seed: int, count: int) -> NDArray[np.float32]:
    """float32 [count]: how the latents of a video with this seed start; the same bits on every machine."""

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
    """DDIM or DPM-Solver++ (2M); the keywords are those of g4v.json."""

    def __init__(
        self,
        type: str,
        steps: int,
        *,
        num_train_timesteps: int,
        beta_start: float,
        beta_end: float,
        beta_schedule: str,
        prediction_type: str,
        rescale_betas_zero_snr: bool,
        timestep_spacing: str,
        steps_offset: int,
        set_alpha_to_one: bool,
        clip_sample: bool,
        clip_sample_range: float = 1.0,
        use_karras_sigmas: bool = False,
        final_sigmas_type: str = "zero",
        solver_order: int = 2,
        lower_order_final: bool = True,
        euler_at_final: bool = False,
    ) -> None: ...
    @property
    def timesteps(self) -> list[int]: ...
    def step(
        self, index: int, prediction: NDArray[np.float32], sample: NDArray[np.float32]
    ) -> NDArray[np.float32]: ...

class StreamDecoder:
    def __init__(self, tokenizer: Tokenizer) -> None: ...
    def push(self, id: int) -> str: ...
    def finish(self) -> str: ...
