"""Lets the graph of one target read the weights that the graph of another has in its data file already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from g4v.export.graph.onnx_file import OnnxFile, Place

_SMALLEST = 4096  # bytes; smaller weights are not worth a second file


def share_weights(path: Path, others: Sequence[Path]) -> list[str]:
    """Rewrites the graph `path` and its data file: weights that the data files of the graphs `others`, in the
    same folder, hold byte for byte are read from there. Returns the data files that the graph then reads.
    """
    places: dict[bytes, Place] = {}
    for other in map(OnnxFile, others):
        for tensor in other.external():
            where = {entry.key: entry.value for entry in tensor.external_data}
            place = Place(where["location"], int(where["offset"]))
            places.setdefault(_digest(other.data(tensor)), place)
    file = OnnxFile(path)
    shared = False
    for tensor in file.external():
        content = file.data(tensor)
        found = places.get(_digest(content)) if len(content) >= _SMALLEST else None
        if found is not None:
            file.refer(tensor, found)
            shared = True
    return file.save() if shared else [file.data_name]


def _digest(content: np.ndarray) -> bytes:
    return hashlib.sha256(content.data).digest()
