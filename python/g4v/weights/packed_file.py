"""The file of a decoder's weights that the core's own CPU decoder maps.

One file in the safetensors format, which csrc/decoder/cpu/packed_weights.h reads in place;
docs/bundle-format.md describes its tensors. `write_packed` is its only writer, for the exporter as for `g4v
build`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from g4v.weights.gguf_codes import BlockCodes
from g4v.weights.packed_layout import pack_codes, pack_floats

HEAD = "lm_head"
PACKED_FORMAT, PACKED_VERSION = "g4v-packed-decoder", "1"
_ALIGNMENT = 64  # bytes, of the first tensor
_ENTRY, _METADATA = 160, 512  # bytes that the header has for a tensor, and for the rest: more than it needs
_PRODUCTS = (  # of a layer: names in transformers, and in the file
    (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), ("q", "k", "v")),
    (("self_attn.o_proj",), ("o",)),
    (("mlp.gate_proj", "mlp.up_proj"), ("gate", "up")),
    (("mlp.down_proj",), ("down",)),
)
_NORMS = (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "mlp_norm"))
_DTYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int8": "I8", "uint8": "U8"}


class PackedSource(Protocol):
    """A Llama whose weights are written, tensor by tensor, by the names of transformers."""

    @property
    def layers(self) -> int:
        """Number of layers."""
        ...

    @property
    def intermediate_size(self) -> int:
        """Width of the MLP."""
        ...

    @property
    def norm_epsilon(self) -> float:
        """What RMSNorm adds to the mean of squares."""
        ...

    def rotary_frequencies(self) -> tuple[np.ndarray, float]:
        """Angles per position, float32 [head_dim / 2], and the factor on their cosines and sines."""
        ...

    def matrices(self, *names: str) -> Iterator[np.ndarray | BlockCodes]:
        """The weights of linear layers that read one input: float32 [out, in], or codes.

        It is called once for each product, in the order of the graph.
        """
        ...

    def bias(self, name: str) -> np.ndarray | None:
        """The bias of a linear layer, float32 [out]; None where it has none."""
        ...

    def norm(self, name: str) -> np.ndarray:
        """The scale of a norm, float32 [hidden size]."""
        ...


def header_bytes(layers: int) -> int:
    """Returns how much room a file of a decoder with so many layers has for its header."""
    return -(-(8 + (9 * 4 * layers + 8) * _ENTRY + _METADATA) // _ALIGNMENT) * _ALIGNMENT


def write_packed(
    source: PackedSource, path: Path, progress: Callable[[float], None] = lambda share: None
) -> None:
    """Writes the packed weights of `source` at `path`, one matrix in memory at a time.

    progress: called with the share that is done, 0 to 1. OSError: the file cannot be written.
    """
    frequencies, factor = source.rotary_frequencies()
    metadata = {
        "format": PACKED_FORMAT,
        "format_version": PACKED_VERSION,
        "norm_epsilon": repr(float(np.float32(source.norm_epsilon))),
        "intermediate_size": str(source.intermediate_size),
        "rotary_factor": repr(float(np.float32(factor))),
    }
    with _TensorWriter(path, header_bytes(source.layers), metadata) as file:
        for index in range(source.layers):
            progress(index / (source.layers + 1))
            prefix = f"model.layers.{index}"
            for names, parts in _PRODUCTS:
                full = [f"{prefix}.{part}" for part in names]
                for matrix, part in zip(source.matrices(*full), parts, strict=True):
                    file.add_matrix(f"layers.{index}.{part}", matrix)
                for module, part in zip(full, parts, strict=True):
                    bias = source.bias(module)
                    if bias is not None:
                        file.add(f"layers.{index}.{part}.bias", bias)
            for norm, part in _NORMS:
                file.add(f"layers.{index}.{part}", source.norm(f"{prefix}.{norm}"))
        for matrix in source.matrices(HEAD):
            file.add_matrix("head", matrix)
        file.add("final_norm", source.norm("model.norm"))
        file.add("rotary_frequencies", frequencies)


class _TensorWriter:
    """Writes tensors one after the other; the header, for which room is kept, comes last."""

    def __init__(self, path: Path, start: int, metadata: dict[str, str]) -> None:
        """start: where the first tensor begins."""
        self._file = open(path, "wb")
        self._header: dict[str, Any] = {"__metadata__": metadata}
        self._start = start
        self._file.seek(self._start)

    def __enter__(self) -> _TensorWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with self._file:
            if kind is None:
                header = json.dumps(self._header, separators=(",", ":")).encode()
                self._file.seek(0)
                self._file.write(struct.pack("<Q", self._start - 8))
                self._file.write(header.ljust(self._start - 8))

    def add_matrix(self, name: str, matrix: np.ndarray | BlockCodes) -> None:
        if isinstance(matrix, np.ndarray):
            self.add(f"{name}.weights", pack_floats(matrix))
            return
        codes, scales, minima = pack_codes(matrix)
        self.add(f"{name}.weights", codes)
        self.add(f"{name}.scales", scales)
        if minima is not None:
            self.add(f"{name}.minima", minima)

    def add(self, name: str, array: np.ndarray) -> None:
        first = self._file.tell() - self._start
        self._file.write(np.ascontiguousarray(array).data)
        self._header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [first, first + array.nbytes],
        }
