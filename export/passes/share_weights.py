"""Lets the graph of one target read the weights that the graph of another has in its data file already."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from g4v.export.graph.writer import ALIGNMENT

_SMALLEST = 4096  # bytes; smaller weights are not worth a second file


def share_data(folder: Path, graph: str, data: str, others: Sequence[str]) -> list[str]:
    """Rewrites `folder`/graph and `folder`/data, each through a temporary name: what the data files of the
    graphs `others` hold byte for byte is read from there. Returns the data files that the graph then reads.
    """
    places = {}
    for other in others:
        for tensor, content in _external(folder, onnx.load(folder / other, load_external_data=False)):
            place = {entry.key: entry.value for entry in tensor.external_data}
            places.setdefault(_digest(content), (place["location"], place["offset"]))
    model = onnx.load(folder / graph, load_external_data=False)
    read: dict[str, None] = {}
    temporary = folder / (data + ".tmp")
    with open(temporary, "wb") as out:
        for tensor, content in _external(folder, model):
            found = places.get(_digest(content)) if len(content) >= _SMALLEST else None
            if found is None:
                out.write(b"\0" * (-out.tell() % ALIGNMENT))
                found = (data, str(out.tell()))
                out.write(content.data)
            for entry in tensor.external_data:
                if entry.key in ("location", "offset"):
                    entry.value = found[entry.key == "offset"]
            read[found[0]] = None
    if set(read) == {data}:
        temporary.unlink()
        return [data]
    temporary.replace(folder / data)
    if data not in read:
        (folder / data).unlink()
    temporary = folder / (graph + ".tmp")
    temporary.write_bytes(model.SerializeToString(deterministic=True))
    temporary.replace(folder / graph)
    return sorted(read, key=lambda file: (file != data, file))


def _external(folder: Path, model: onnx.ModelProto) -> Iterator[tuple[TensorProto, np.ndarray]]:
    """The tensors whose bytes are in a data file, with these bytes."""
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            start, length = int(place["offset"]), int(place["length"])
            yield tensor, np.memmap(folder / place["location"], np.uint8, "r", start, length)


def _digest(content: np.ndarray) -> bytes:
    return hashlib.sha256(content.data).digest()
