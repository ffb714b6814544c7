"""The fuzzers by name. Each calls the readers' own functions: what they raise is what a user would see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .configurations import Llama, Scheduler, TextToVideo, Towers
from .gguf_file import Gguf
from .video_file import Video
from .weights import Lora, Safetensors

# A target is made with a folder to work in. `sound()` is an input that is accepted, `make(mutator)` a changed
# one, and `run(input)` reads it.
TARGETS: dict[str, Callable[[Path], Any]] = {
    "safetensors": Safetensors,
    "lora": Lora,
    "scheduler": Scheduler,
    "llama": Llama,
    "text-to-video": TextToVideo,
    "towers": Towers,
    "gguf": Gguf,
    "video": Video,
}
