"""Loads one part of a run through the library that saved it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from g4v.export.errors import ExportError


def load_part(place: Path, load: Any, **options: Any) -> Any:
    """Returns load(place, **options), with every error of the library as one line.

    place: the part's folder or file.
    load: a function such as a class's from_pretrained.

    ExportError: the files are damaged, or a module's weights are not finite.
    """
    try:
        found = load(place, **options)
    except Exception as error:  # each library has its own classes for damaged files
        reason = " ".join(str(error).split())[:300].removeprefix(f"{place}: ")
        raise ExportError(f"{place}: cannot be read: {reason}") from None
    if isinstance(found, torch.nn.Module):
        for name, weight in found.named_parameters():
            if not all(torch.isfinite(end) for end in weight.detach().aminmax()):
                raise ExportError(f"{place}: {name} holds numbers that are not finite")
    return found


def stored_dtype(folder: Path) -> torch.dtype:
    """Returns torch.float16 where all safetensors weights of a folder are stored so, else torch.float32."""
    from safetensors import safe_open

    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt") as opened:
                names = opened.keys()
                if any(opened.get_slice(name).get_dtype() != "F16" for name in names):
                    return torch.float32
        except Exception:  # whoever loads the file says what is wrong with it
            return torch.float32
    return torch.float16
