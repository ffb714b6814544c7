"""Weights that stay in their files until they are asked for, so that a model need not fit into memory."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.weight_files import open_weights
from g4v.weights.gguf_codes import BlockCodes
from g4v.weights.gguf_tensors import GgufTensors
from g4v.weights.tensor_shapes import Shapes, is_table

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_COMPARED = 1 << 22  # numbers that are compared at once


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


class PartedCheckpoint(Protocol):
    """A checkpoint that holds several models."""

    def shapes(self, part: str) -> Shapes:
        """The shape of every tensor of a part, by the name that the part's own class gives it."""
        ...

    def read(self, part: str, name: str) -> Tensor:
        """A copy of one tensor of a part in float32. CheckpointError: as `TensorFiles.read`."""
        ...


class PartTensors:
    """The floating tensors of one part of a checkpoint: a `TensorFiles`."""

    def __init__(self, checkpoint: PartedCheckpoint, part: str) -> None:
        self._checkpoint, self._part = checkpoint, part
        self.shapes = checkpoint.shapes(part)

    def read(self, name: str) -> Tensor:
        return self._checkpoint.read(self._part, name)

    def code_bits(self, name: str) -> None:
        return None

    def codes(self, name: str) -> None:
        return None


def finite(place: str, name: str, tensor: Tensor) -> Tensor:
    """The tensor; CheckpointError unless all of its numbers are finite."""
    # The ends are not finite where any number is not; looking at each would take copies of a large tensor.
    ends = torch.stack(tensor.aminmax()) if tensor.numel() and tensor.dtype in _FLOATS else tensor
    if not torch.isfinite(ends).all():
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
        layers, heads = config.num_hidden_layers, config.num_attention_heads
        self._tensors = GgufTensors(path, layers, heads, config.num_key_value_heads, wanted)
        self.shapes: Shapes = self._tensors.shapes

    def read(self, name: str) -> Tensor:
        return torch.from_numpy(self._tensors.read(name))

    def code_bits(self, name: str) -> int | None:
        return self._tensors.code_bits(name)

    def codes(self, name: str) -> BlockCodes | None:
        return self._tensors.codes(name)
