"""Reads and writes a module as a folder with config.json and model.safetensors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def save_module(
    module: nn.Module, config: dict, folder: str | Path, dtype: torch.dtype | None = None
) -> None:
    """Writes `folder`/config.json and `folder`/model.safetensors, each to a temporary name that is then
    renamed.

    dtype: storage type of floating tensors (torch.float16 halves the file); None keeps each tensor's own.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, tensor in module.state_dict().items():
        tensor = tensor.detach().cpu()
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        tensors[name] = tensor.contiguous()
    weights = folder / "model.safetensors"
    temporary = folder / f".model.safetensors.{os.getpid()}.tmp"
    try:
        save_file(tensors, temporary, metadata={"format": "pt"})
        temporary.replace(weights)
    finally:
        temporary.unlink(missing_ok=True)
    temporary = folder / f".config.json.{os.getpid()}.tmp"
    try:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        temporary.replace(folder / "config.json")
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(folder: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of `folder`/model.safetensors, floating ones as float32."""
    tensors = load_file(Path(folder) / "model.safetensors")
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
