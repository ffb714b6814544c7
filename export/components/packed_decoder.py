"""The weights of a decoder for the core's own CPU decoder: `g4v.weights.packed_file` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.quantisation.codes import BITS, Quantised
from g4v.export.quantisation.quantiser import Quantiser
from g4v.export.quantisation.reused_codes import ReusedCodes
from g4v.weights import packed_file
from g4v.weights.gguf_codes import BlockCodes


def packed_name(stem: str) -> str:
    """Returns the name of the file beside the graph `stem`.onnx."""
    return f"{stem}.packed"


def write_packed(
    weights: LlamaWeights,
    folder: Path,
    precision: str,
    stem: str = "decoder",
    quantiser: Quantiser | None = None,
) -> str:
    """Writes `folder`/`stem`.packed and returns its name.

    precision: "fp32": the weights themselves, in 16 bits where these hold a matrix exactly. "int8", "int4":
        codes.
    quantiser: makes the codes, in blocks of 16 or 32; by default they are those of the graph
        `folder`/`stem`.onnx, which must have been written before.
    """
    codes = (quantiser or ReusedCodes(weights, folder, stem, {})) if precision in BITS else None
    packed_file.write_packed(_Source(weights, codes), folder / packed_name(stem))
    return packed_name(stem)


class _Source:
    """A `PackedSource` of weights that are read with PyTorch."""

    def __init__(self, weights: LlamaWeights, codes: Quantiser | None) -> None:
        self._weights, self._codes, config = weights, codes, weights.config
        self.layers: int = config.num_hidden_layers
        self.intermediate_size: int = config.intermediate_size
        self.norm_epsilon: float = config.rms_norm_eps

    def rotary_frequencies(self) -> tuple[np.ndarray, float]:
        frequencies, factor = self._weights.rotary_frequencies()
        return frequencies.numpy(), factor

    def matrices(self, *names: str) -> Iterator[np.ndarray | BlockCodes]:
        if self._codes is None:
            yield from (self._weights.read(f"{name}.weight").numpy() for name in names)
            return
        parts: list[Quantised] = self._codes(*names)  # neighbours of one kind are one
        for name in names:
            rows = self._weights.shapes[f"{name}.weight"][0]
            yield parts[0].rows(0, rows).block_codes()
            parts[0] = parts[0].rows(rows, len(parts[0].codes))
            if not len(parts[0].codes):
                parts.pop(0)

    def bias(self, name: str) -> np.ndarray | None:
        there = f"{name}.bias" in self._weights
        return self._weights.read(f"{name}.bias").numpy() if there else None

    def norm(self, name: str) -> np.ndarray:
        return self._weights.read(f"{name}.weight").numpy()
