"""Runs the core's own decoder on a file of packed weights, to compare it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from g4v._runtime import import_core
from g4v.export.errors import InaccurateError
from g4v.export.verify.error_measures import norm_error

# Both round activations to 8 bits, in blocks of 32, but not at the same places: by how much the core's error
# may exceed that of ONNX Runtime.
_FACTOR, _LEAST = 3.0, 0.01


def open_packed(path: Path, config: Any, context_length: int, threads: int = 1) -> Any:
    """Returns the core's own decoder on a file of packed weights, a `CpuModel` of g4v._core.

    config: the LlamaConfig of the decoder.
    context_length: tokens that a conversation may have.
    threads: that share a step; what it computes does not depend on them.
    """
    return import_core().CpuModel(
        str(path),
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        context_length=context_length,
        threads=threads,
    )


def run_packed(path: Path, config: Any, embeds: np.ndarray, chunks: Sequence[int]) -> np.ndarray:
    """Returns the logits behind the last token of every chunk, float32 [len(chunks), V].

    path: packed weights.
    config: the LlamaConfig of the decoder.
    embeds: float32 [sum of `chunks`, d].
    chunks: lengths of the steps.
    """
    model = open_packed(path, config, len(embeds))
    cache, ends = model.new_cache(), np.cumsum(chunks)
    steps = [embeds[end - length : end] for length, end in zip(chunks, ends, strict=True)]
    return np.stack([model.step([(cache, rows)])[0] for rows in steps])


def check_packed(path: Path, own: np.ndarray, graph: np.ndarray, wanted: Tensor) -> None:
    """Raises InaccurateError where codes in a file of packed weights are not those of the graph.

    own, graph: logits of both, with activations in 8 bits.
    wanted: logits with exact activations, float64.
    """
    found, most = norm_error(own, wanted), max(_FACTOR * norm_error(graph, wanted), _LEAST)
    if not found <= most:
        raise InaccurateError(f"decoder: {path.name} is {found:.1e} off, which is more than {most:.1e}")
