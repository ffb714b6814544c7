"""What a part's training ended with: read from its checkpoint, rounded, saved in the layout of a run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from g4v._files import atomic_folder
from g4v.errors import ArgumentError
from g4v.shapes.recipe.loop import Part


def checkpoint_of(out: Path, part: str) -> Path:
    """Where the training loop keeps a part's checkpoint."""
    return out / "work" / part / "last.ckpt"


def result_of(checkpoint: Path, prefix: str = "") -> dict[str, Tensor]:
    """The weights that a run ended with, below `prefix`: the averaged ones where it kept them.

    FileNotFoundError: there is no such checkpoint. ArgumentError: it holds none of these weights.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    for root in ("average.module.", "model."):
        start = root + prefix
        weights = {name[len(start) :]: tensor for name, tensor in state.items() if name.startswith(start)}
        if weights:
            return weights
    raise ArgumentError(f"{checkpoint} holds no weights of a run; delete its folder and train it again")


def start_from(part: Part, checkpoint: Path) -> Part:
    """The part, with the result of another run as its first weights."""
    part.model.load_state_dict(result_of(checkpoint))
    return part


def round_to_half(module: nn.Module) -> nn.Module:
    """Rounds the weights to float16 values in place: what others are trained on is what is stored."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.half().float())
    return module


def save_half(model: Any, folder: Path) -> None:
    """`save_pretrained` of a transformers or diffusers model with float16 storage, whole or not at all."""
    with atomic_folder(folder) as work:
        copy.deepcopy(model).half().save_pretrained(work, safe_serialization=True)
