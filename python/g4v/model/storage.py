"""What the modules share: folders with config.json and model.safetensors, and lists of typed layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from g4v._files import atomic, write_json
from g4v._memory import require_memory_to_save

Layer = TypeVar("Layer", bound=nn.Module)


def typed_list(layers: list[Layer]) -> list[Layer]:
    """A `nn.ModuleList`, typed as a list of what it holds; its own items are typed as any module."""
    return cast("list[Layer]", nn.ModuleList(layers))


def save_module(
    module: nn.Module, config: dict[str, Any], folder: str | Path, dtype: torch.dtype | None = None
) -> None:
    """Writes config.json and model.safetensors into `folder`, which is made; each file whole or not at all.

    dtype: storage type of floating tensors (torch.float16 halves the file); None keeps each tensor's own.
    Raises `OutputError` where a file cannot be written.
    """
    folder = Path(folder)
    tensors = {}
    for name, tensor in module.state_dict().items():
        tensor = tensor.detach().cpu()
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        tensors[name] = tensor.contiguous()
    with atomic(folder / "model.safetensors") as temporary:
        require_memory_to_save(folder)
        save_file(tensors, temporary, metadata={"format": "pt"})
    write_json(folder / "config.json", config)


def load_tensors(folder: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of `folder`/model.safetensors, floating ones as float32."""
    tensors = load_file(Path(folder) / "model.safetensors")
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
