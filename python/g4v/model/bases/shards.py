"""Reads weight files one at a time: safetensors, and pickles through PyTorch's weights_only loader alone."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v.model.bases.errors import CheckpointError, one_line

# The authors save their options as Lightning's dictionary or as argparse's namespace. Both are rebuilt as an
# OrderedDict, so that no code of those packages runs.
_OPTIONS = (
    "argparse.Namespace",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)


def read_pickle(path: Path) -> Any:
    """What a pickle holds, read with weights_only; tensors stay on disk until used where the file allows it.

    CheckpointError: damaged, or it wants anything but tensors and plain values.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        allowed: list[Any] = [(OrderedDict, name) for name in _OPTIONS]
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except Exception as error:  # RuntimeError, UnpicklingError, EOFError, ...: as many as there are faults
        text = one_line(error, 5000)
        culprit = re.search(r"GLOBAL ([\w.]+)|(?:function|class|type) (\S+)", text)
        if "Weights only load failed" in text or "weights_only" in text:
            what = next((g for g in culprit.groups() if g), "") if culprit else ""
            reason = f"it asks for {what}" if what else text[-200:]
            raise CheckpointError(f"{path}: refused, only tensors are read from a pickle: {reason}") from None
        raise CheckpointError(f"{path}: damaged or truncated: {text[:200]}") from None


def read_shard(path: Path) -> dict[str, Tensor]:
    """The tensors of one file by name, in their stored dtype."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        check_safetensors(path)
        return load_file(path)
    return check_tensors(path, read_pickle(path))


def check_safetensors(path: Path) -> None:
    """CheckpointError unless the file's header is sound and covers the file to its last byte."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt"):
            pass
    except Exception as error:  # safetensors has its own class; a missing file is an OSError
        raise CheckpointError(f"{path}: damaged or truncated: {one_line(error)}") from None


def check_tensors(path: Path, values: Any) -> dict[str, Tensor]:
    """`values` if it maps names to dense floating or integer tensors; CheckpointError otherwise."""
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: holds a {type(values).__name__}, not named tensors")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: {name!r} is a {type(value).__name__}, not a tensor")
        if value.layout != torch.strided or value.is_quantized or value.is_complex():
            raise CheckpointError(f"{path}: tensor {name} is sparse, quantised or complex")
    return values
