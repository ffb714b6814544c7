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
from g4v.model.bases.llm import ROTARY_FACTORS
from g4v.model.bases.weight_files import check_weights

Shapes = Mapping[str, tuple[int, ...]]
_GGUF_SUFFIXES = (".weight", ".bias")


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


class SafetensorsFiles:
    """The tensors of a folder with model.safetensors, sharded or not."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, Path] = {}
        for file in check_weights(folder):
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                    part = opened.get_slice(name)
                    if part.get_dtype() not in ("F64", "F32", "F16", "BF16"):
                        raise CheckpointError(
                            f"{file}: {name} is stored as {part.get_dtype()}; only floating types are read"
                        )
                    self.shapes[name] = tuple(part.get_shape())
                    self._files[name] = file

    def read(self, name: str) -> Tensor:
        from safetensors import safe_open

        file = self._files[name]
        try:
            # The file is mapped while it is open: closing it gives the memory back.
            with safe_open(file, framework="pt") as opened:
                tensor = opened.get_tensor(name).to(torch.float32, copy=True)
        except Exception as error:  # safetensors raises its own class
            raise CheckpointError(f"{file}: damaged or truncated: {one_line(error)}") from None
        return finite(str(file), name, tensor)

    def code_bits(self, name: str) -> None:
        return None

    def codes(self, name: str) -> None:
        return None


class GgufFile:
    """The tensors of a Llama in a GGUF file, by the names of transformers; `read` dequantises them.

    rope_factors: what the file divides the rotary frequencies by, float32 [head_dim / 2], or None.
    """

    def __init__(self, path: Path, config: Any, wanted: Collection[str]) -> None:
        from gguf import MODEL_ARCH, GGUFReader, get_tensor_name_map

        self._path = path
        self._heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
        stored = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
        factors = stored.pop(ROTARY_FACTORS, None)
        self.rope_factors = None if factors is None else torch.from_numpy(np.array(factors.data, np.float32))
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


def open_tensors(place: Path, config: Any, names: Collection[str]) -> TensorFiles:
    """The weights of the Llama at `place`, a folder or a GGUF file; CheckpointError if they are damaged.

    names: those that transformers has for the tensors of this model.
    """
    if place.is_dir():
        return SafetensorsFiles(place)
    try:
        return GgufFile(place, config, names)
    except Exception as error:  # the reader's own asserts and numpy's complaints about missing bytes
        raise CheckpointError(f"{place}: damaged or truncated: {one_line(error)}") from None


def llama_shapes(config: Any) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """A LlamaForCausalLM without memory (on the meta device), and the shapes of its tensors by name."""
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    named = model.named_parameters(remove_duplicate=False)
    return model, {name: tuple(parameter.shape) for name, parameter in named}


def check_shapes(place: Path, found: Shapes, wanted: Shapes) -> None:
    """CheckpointError where tensors are missing, left over, or of other shapes than the configuration's."""
    extra = [n for n in found if n not in wanted and not n.endswith("rotary_emb.inv_freq")]
    missing = [n for n in wanted if n not in found]
    wrong = [n for n in wanted if n in found and found[n] != wanted[n]]
    for kind, names in (("missing", missing), ("unexpected", extra), ("misshapen", wrong)):
        if names:
            first = min(names)
            shapes = f" ({list(found[first])}, not {list(wanted[first])})" if kind == "misshapen" else ""
            raise CheckpointError(f"{place}: {kind} tensor {first}{shapes}, {len(names)} in all")
