"""Weights that stay in their files until they are asked for, so that a model need not fit into memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.gguf_codes import BlockCodes, bits_of_kind, read_codes
from g4v.model.bases.gguf_config import ROTARY_FACTORS
from g4v.model.bases.gguf_metadata import open_reader
from g4v.model.bases.weight_files import open_weights

Shapes = Mapping[str, tuple[int, ...]]
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_COMPARED = 1 << 22  # numbers that are compared at once
_GGUF_SUFFIXES = (".weight", ".bias")
_NO_HINTS: Mapping[str, str] = {}


def is_table(name: str) -> bool:
    """Whether a tensor is the rotary frequencies, which older releases of transformers stored."""
    return name.endswith("rotary_emb.inv_freq")


def check_shapes(place: Path, found: Shapes, wanted: Shapes, hints: Mapping[str, str] = _NO_HINTS) -> None:
    """Checks names and shapes of the tensors of a module, its tables of rotary frequencies apart.

    found: those in the files. wanted: the module's. hints: what is said of a tensor if it alone is missing.
    CheckpointError: tensors are missing, left over, or of other shapes; it names the first.
    """
    extra = [n for n in found if n not in wanted and not is_table(n)]
    missing = [n for n in wanted if n not in found]
    wrong = [n for n in wanted if n in found and found[n] != wanted[n]]
    for kind, names in (("missing", missing), ("unexpected", extra), ("misshapen", wrong)):
        if names:
            first = min(names)
            shapes = f" ({list(found[first])}, not {list(wanted[first])})" if kind == "misshapen" else ""
            alone = kind == "missing" and len(names) == 1 and first in hints
            hint = f": {hints[first]}" if alone else ""
            raise CheckpointError(f"{place}: {kind} tensor {first}{shapes}, {len(names)} in all{hint}")


class TensorFiles(Protocol):
    """Named tensors on disk, read one at a time."""

    @property
    def shapes(self) -> Shapes:
        """The shape of every tensor, by name."""
        ...

    def read(self, name: str) -> Tensor:
        """A copy of one tensor in float32. CheckpointError: it cannot be read, or a number is not finite."""
        ...

    def code_bits(self, name: str) -> int | None:
        """Bits (4 or 8) of the codes that a quantised matrix is stored as; None where it is not so stored."""
        ...

    def codes(self, name: str) -> BlockCodes | None:
        """The codes that a quantised matrix is stored as; None where it is not so stored."""
        ...


def finite(place: str, name: str, tensor: Tensor) -> Tensor:
    """The tensor; CheckpointError unless all of its numbers are finite."""
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{place}: {name} holds numbers that are not finite")
    return tensor


class FloatFiles:
    """The tensors of a folder of safetensors or pickles, sharded or not, all of them floating."""

    def __init__(self, folder: Path) -> None:
        self._files = open_weights(folder)
        self.shapes: Shapes = self._files.shapes
        for name, dtype in self._files.dtypes.items():
            if dtype not in _FLOATS and not is_table(name):
                kind = str(dtype).removeprefix("torch.")
                raise CheckpointError(
                    f"{self._files.place(name)}: {name} is stored as {kind}; only floating types are read"
                )

    def read(self, name: str) -> Tensor:
        return finite(str(self._files.place(name)), name, self._files.read(name, torch.float32))

    def equal(self, first: str, second: str) -> bool:
        """Whether two tensors of one shape hold the same numbers; some rows at a time."""
        count, step = self.shapes[first][0], max(1, _COMPARED // max(1, self.shapes[first][-1]))
        return all(
            torch.equal(
                *(self._files.read(n, torch.float32, slice(i, min(i + step, count))) for n in (first, second))
            )
            for i in range(0, count, step)
        )

    def code_bits(self, name: str) -> None:
        return None

    def codes(self, name: str) -> None:
        return None


class GgufFile:
    """The tensors of a Llama in a GGUF file, by the names of transformers; `read` dequantises them.

    Those of the rotary frequencies are left out: `read_gguf_config` and `read_rotary_factors` see to them.
    """

    def __init__(self, path: Path, config: Any, wanted: Collection[str]) -> None:
        from gguf import MODEL_ARCH, get_tensor_name_map

        self._path = path
        self._heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
        stored = {tensor.name: tensor for tensor in open_reader(path).tensors}
        stored.pop(ROTARY_FACTORS, None)
        self._tensors: dict[str, Any] = {}
        for name in wanted:
            there = names.get_name(name, try_suffixes=_GGUF_SUFFIXES)
            if there in stored:
                self._tensors[name] = stored.pop(there)
        # What no Llama has keeps its own name, so that whoever checks the names finds it.
        self._tensors.update(stored)
        self.shapes = {n: tuple(int(s) for s in reversed(t.shape)) for n, t in self._tensors.items()}

    def read(self, name: str) -> Tensor:
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except Exception as error:  # kinds of blocks that the package cannot dequantise
            raise CheckpointError(f"{self._path}: {tensor.name}: {one_line(error)}") from None
        values = np.array(values, np.float32).reshape(self.shapes[name])
        return finite(str(self._path), tensor.name, torch.from_numpy(self._in_halves(name, values)))

    def code_bits(self, name: str) -> int | None:
        return bits_of_kind(self._tensors[name].tensor_type.name)

    def codes(self, name: str) -> BlockCodes | None:
        found = read_codes(self._tensors[name])
        if found is None:
            return None
        offsets = None if found.offsets is None else self._in_halves(name, found.offsets)
        rows = self._in_halves(name, found.codes), self._in_halves(name, found.scales)
        return BlockCodes(*rows, offsets, found.bits, found.kind)

    def _in_halves(self, name: str, rows: np.ndarray) -> np.ndarray:
        """The rows of a tensor in the order of transformers."""
        heads = self._heads.get(name.split(".")[-2] if "." in name else "")
        if heads:  # llama.cpp rotates neighbours, transformers halves
            rows = rows.reshape(heads, -1, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
        return np.ascontiguousarray(rows)
