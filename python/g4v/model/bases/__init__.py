"""Public models as bases: language models, CLIP towers, and mPLUG-Owl checkpoints with the authors' deltas.

load_llm, load_tokenizer   a LlamaForCausalLM by hub name, directory or GGUF file
load_vision                a CLIPVisionModel, the vision half of a CLIPModel, or a g4v encoder folder
convert_checkpoint         mPLUG-Owl (video) checkpoints and GPT4Video delta files into a training run

`python -m g4v.model.bases convert SOURCE --out DIR` does the conversion. Pickles are read where there
are no safetensors, and only with PyTorch's weights_only loader.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from g4v.model.bases.errors import CheckpointError

if TYPE_CHECKING:
    from g4v.model.bases.convert import convert_checkpoint
    from g4v.model.bases.llm import load_llm, load_tokenizer
    from g4v.model.bases.vision import load_vision

_MODULES = {
    "convert_checkpoint": "convert",
    "load_llm": "llm",
    "load_tokenizer": "llm",
    "load_vision": "vision",
}

__all__ = ["CheckpointError", "convert_checkpoint", "load_llm", "load_tokenizer", "load_vision"]


def __getattr__(name: str) -> Any:
    """Imports PyTorch and transformers when they are needed; `--help` works without them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
