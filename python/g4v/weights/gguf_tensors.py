"""The tensors of a Llama in a GGUF file, by the names of transformers, read one at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from g4v.weights.errors import CheckpointError, one_line
from g4v.weights.gguf_codes import BlockCodes, bits_of_kind, read_codes
from g4v.weights.gguf_metadata import open_reader

ROTARY_FACTORS = "rope_freqs.weight"  # a tensor: what the rotary frequencies are divided by
_SUFFIXES = (".weight", ".bias")
_VALUES = 1 << 22  # that `rows` dequantises at once


class GgufTensors:
    """Named tensors of a GGUF file; they stay in it until they are read, and are then dequantised.

    path: the file. layers, heads, kv_heads: of the model.
    wanted: names in transformers; what the file has beside them is listed in `shapes` by its own name.
    shapes: attribute, [out, in] of every tensor but `ROTARY_FACTORS`.

    Whatever the package gguf raises for damaged files.
    """

    def __init__(self, path: Path, layers: int, heads: int, kv_heads: int, wanted: Collection[str]) -> None:
        from gguf import MODEL_ARCH, get_tensor_name_map

        self._path = path
        self._heads = {"q_proj": heads, "k_proj": kv_heads}
        names = get_tensor_name_map(MODEL_ARCH.LLAMA, layers)
        stored = {tensor.name: tensor for tensor in open_reader(path).tensors}
        stored.pop(ROTARY_FACTORS, None)
        self._tensors: dict[str, Any] = {}
        for name in wanted:
            there = names.get_name(name, try_suffixes=_SUFFIXES)
            if there in stored:
                self._tensors[name] = stored.pop(there)
        # What no Llama has keeps its own name, so that whoever checks the names finds it.
        self._tensors.update(stored)
        self.shapes = {n: tuple(int(s) for s in reversed(t.shape)) for n, t in self._tensors.items()}

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor as float32. CheckpointError: it cannot be read, or a number is not finite."""
        values = self._dequantised(name, slice(None)).reshape(self.shapes[name])
        return self._in_halves(name, values)

    def rows(self, name: str) -> Iterator[np.ndarray]:
        """Yields a matrix some rows at a time, float32 [n, in]. CheckpointError: as `read`.

        It must not be one of queries or keys, whose rows are stored in another order.
        """
        count, width = self.shapes[name]
        step = max(1, _VALUES // width)
        for start in range(0, count, step):
            yield self._dequantised(name, slice(start, min(start + step, count))).reshape(-1, width)

    def code_bits(self, name: str) -> int | None:
        """Bits (4 or 8) of the codes that a quantised matrix is stored as; None where it is not so stored."""
        return bits_of_kind(self._tensors[name].tensor_type.name)

    def codes(self, name: str) -> BlockCodes | None:
        """The codes that a quantised matrix is stored as; None where it is not so stored."""
        found = read_codes(self._tensors[name])
        if found is None:
            return None
        offsets = None if found.offsets is None else self._in_halves(name, found.offsets)
        rows = self._in_halves(name, found.codes), self._in_halves(name, found.scales)
        return BlockCodes(*rows, offsets, found.bits, found.kind)

    def _dequantised(self, name: str, rows: slice) -> np.ndarray:
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        try:
            values = np.array(dequantize(tensor.data[rows], tensor.tensor_type), np.float32)
        except Exception as error:  # kinds of blocks that the package cannot dequantise
            raise CheckpointError(f"{self._path}: {tensor.name}: {one_line(error)}") from None
        if not np.isfinite(values).all():
            raise CheckpointError(f"{self._path}: {tensor.name} holds numbers that are not finite")
        return values

    def _in_halves(self, name: str, rows: np.ndarray) -> np.ndarray:
        """The rows of a tensor in the order of transformers."""
        heads = self._heads.get(name.split(".")[-2] if "." in name else "")
        if heads:  # llama.cpp rotates neighbours, transformers halves
            rows = rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
        return np.ascontiguousarray(rows)
