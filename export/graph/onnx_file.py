"""Reads and rewrites ONNX files whose weights are in data files beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from g4v._files import atomic, write_bytes
from g4v.export.errors import ExportError

ALIGNMENT = 64  # bytes, of every tensor in a data file


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor are: a data file in the graph's folder, and an offset in it."""

    location: str
    offset: int


class OnnxFile:
    """A graph file that is open; its weights stay in their data files and are read as views of them.

    Change `graph` as you like, replace the bytes of tensors, then `save`. Nothing of the files changes before
    that, and each is then replaced as a whole.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.model: onnx.ModelProto = onnx.load(self.path, load_external_data=False)
        self._changed: dict[str, np.ndarray | Place] = {}

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def data_name(self) -> str:
        """Name of the graph's own data file."""
        return f"{self.path.stem}.data"

    @property
    def graph(self) -> onnx.GraphProto:
        return self.model.graph

    @property
    def tensors(self) -> dict[str, TensorProto]:
        """The constants of the graph by name."""
        return {tensor.name: tensor for tensor in self.graph.initializer}

    def external(self) -> list[TensorProto]:
        """The constants that are in data files, in the graph's order."""
        return [t for t in self.graph.initializer if t.data_location == TensorProto.EXTERNAL]

    def data(self, tensor: TensorProto) -> np.ndarray:
        """The bytes of a constant of `external`, as it was opened: a view of the data file, uint8."""
        place = {entry.key: entry.value for entry in tensor.external_data}
        start, length = int(place["offset"]), int(place["length"])
        return np.memmap(self.folder / place["location"], np.uint8, "r", start, length)

    def array(self, tensor: TensorProto) -> np.ndarray:
        """A constant as it was opened, in its type and shape: a view where it is in a data file."""
        if tensor.data_location != TensorProto.EXTERNAL:
            return numpy_helper.to_array(tensor)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return self.data(tensor).view(dtype).reshape(tensor.dims)

    # Changes.

    def put_nodes(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Puts `nodes` in place of the graph's; some of them may be the graph's own."""
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(copies)

    def replace(self, tensor: TensorProto, array: np.ndarray, data_type: int, name: str) -> None:
        """Gives a constant of `external` other content, of the same shape, and another name."""
        tensor.name, tensor.data_type = name, data_type
        self._changed[name] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def refer(self, tensor: TensorProto, place: Place) -> None:
        """Has a constant of `external` read from a data file of another graph, which holds the same bytes."""
        self._changed[tensor.name] = place

    # Files.

    def save(self) -> list[str]:
        """Writes the graph and, where bytes were replaced, its data file, through temporary names. Returns
        the data files that the graph reads, its own first; it has none if all bytes are in others.
        ExportError: a file cannot be written, for example on a full disk.
        """
        if self._changed:
            self._save_data()
        write_bytes(self.path, self.model.SerializeToString(deterministic=True), ExportError)
        read = {entry.value for t in self.external() for entry in t.external_data if entry.key == "location"}
        return sorted(read, key=lambda file: (file != self.data_name, file))

    def _save_data(self) -> None:
        target = self.folder / self.data_name
        with atomic(target, ExportError) as temporary, open(temporary, "wb") as out:
            for tensor in self.external():
                self._write(tensor, out)
        if target.stat().st_size == 0:
            target.unlink()
        self._changed.clear()

    def _write(self, tensor: TensorProto, out: BinaryIO) -> None:
        """Adds the bytes of a constant to the new data file, unless they are in another one."""
        found = self._changed.get(tensor.name)
        if isinstance(found, Place):
            _put_place(tensor, found.location, found.offset)
            return
        content = self.data(tensor) if found is None else found
        out.write(b"\0" * (-out.tell() % ALIGNMENT))
        _put_place(tensor, self.data_name, out.tell(), content.nbytes)
        out.write(content.data)

    @contextmanager
    def beside(self, label: str) -> Iterator[Path]:
        """Writes the graph, as it is now, to a file beside it that is deleted afterwards; yields its path.
        Its constants are read from the data files as they are.
        """
        place = self.path.with_name(f".{self.path.stem}.{label}.onnx")
        try:
            place.write_bytes(self.model.SerializeToString())
            yield place
        finally:
            place.unlink(missing_ok=True)


def _put_place(tensor: TensorProto, location: str, offset: int, length: int | None = None) -> None:
    values: dict[str, Any] = {"location": location, "offset": offset, "length": length}
    for entry in tensor.external_data:
        if values.get(entry.key) is not None:
            entry.value = str(values[entry.key])


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of an attribute of a node."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
