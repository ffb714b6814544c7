"""Reads a safetensors file with NumPy alone."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

from g4v.weights.errors import AGAIN, CheckpointError, one_line

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a file by their names, mapped: they are read when they are used.

    CheckpointError: the file is missing or damaged, a tensor has another type than F64, F32 and F16, or
    numbers that are not finite.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        data = np.memmap(path, np.uint8, "r", offset=8 + length)
        tensors = {}
        for name, entry in header.items():
            first, end = entry["data_offsets"]
            tensors[name] = data[first:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise CheckpointError(f"{path}: cannot be read: {one_line(error)}; {AGAIN}") from None
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds numbers that are not finite")
    return tensors
