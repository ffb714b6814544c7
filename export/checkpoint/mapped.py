"""Weights of a module that stay in their files: what is not at work takes no memory.

Tensors of safetensors files are mapped, in the type in which they are stored; `give_back` drops what has been
read of them. A network of more weights than the memory holds can so be read layer by layer, as often as is
wanted.
"""

from __future__ import annotations

import json
import mmap
import warnings
import weakref
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from g4v.export.errors import ExportError
from g4v.model.bases.weight_files import WeightFiles

_MAPS: weakref.WeakKeyDictionary[nn.Module, list[mmap.mmap]] = weakref.WeakKeyDictionary()


def map_tensors(files: WeightFiles) -> tuple[dict[str, Tensor], list[mmap.mmap]] | None:
    """Returns every tensor of safetensors files by its stored name, and the mappings that they lie in.

    The tensors must not be written to. files: with sound headers, as `open_weights` has checked them. None
    where some are pickles. ExportError: a file cannot be read.
    """
    if any(file.suffix != ".safetensors" for file in files.files):
        return None
    tensors: dict[str, Tensor] = {}
    maps = []
    for file in files.files:
        try:
            with file.open("rb") as opened:
                found = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ExportError(f"{file}: cannot be read: {error.strerror}") from None
        maps.append(found)
        tensors |= _tensors(file, found, files)
    return tensors, maps


def _tensors(file: Path, found: mmap.mmap, files: WeightFiles) -> dict[str, Tensor]:
    size = int.from_bytes(found[:8], "little")
    header = json.loads(found[8 : 8 + size])
    made = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape, dtype = files.shapes[name], files.dtypes[name]
        if prod(shape) == 0:
            made[name] = torch.empty(shape, dtype=dtype)
            continue
        offset = 8 + size + entry["data_offsets"][0]
        if offset % dtype.itemsize:  # of a writer that does not align them
            end = 8 + size + entry["data_offsets"][1]
            made[name] = torch.frombuffer(bytearray(found[offset:end]), dtype=dtype).view(shape)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the tensor is not writable
            flat = torch.frombuffer(found, dtype=dtype, count=prod(shape), offset=offset)
        made[name] = flat.view(shape)
    return made


def remember(module: nn.Module, maps: list[mmap.mmap]) -> None:
    """Ties mappings to the module, and to each part of it, whose weights lie in them."""
    for part in module.modules():
        _MAPS[part] = maps


def is_mapped(module: nn.Module) -> bool:
    """Whether the weights of a module are mapped."""
    return module in _MAPS


def give_back(module: nn.Module) -> None:
    """Drops from memory what has been read of a module's mapped weights: they are read again when they are
    used again. Of a module whose weights are not mapped nothing is dropped.
    """
    for found in _MAPS.get(module, ()):
        found.madvise(mmap.MADV_DONTNEED)
