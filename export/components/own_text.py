"""Calibration text that a language model writes itself, through the core's own decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from g4v.export.checkpoint.llama import EMBEDDING, LlamaWeights
from g4v.export.components.packed_decoder import write_packed
from g4v.export.errors import ExportError
from g4v.export.quantisation.calibration import SEQUENCES, Calibration, sequence_length
from g4v.export.quantisation.round_to_nearest import RoundToNearest
from g4v.export.verify.packed import open_packed

WRITER = "int8"  # as good a writer as float32, at a quarter of the bytes that every step reads
_SEED = 20231125
_RUN = 256  # neighbours in the vocabulary


def write_own_text(weights: LlamaWeights, bos: int | None, folder: Path) -> Calibration:
    """Returns text that the model samples at temperature 1, as in LLM-QAT (arXiv 2305.17888).

    weights: of the model. They are rounded to 8 bits for it, in a file that is gone when this returns.
    bos: the token that every sequence begins with; None: random ones.
    folder: in which that file is made.

    All sequences go on together, one token a step. The same weights always write the same text on a machine,
    with any number of threads. ExportError: the model computes numbers that are not finite.
    """
    quantiser = RoundToNearest(weights, WRITER)
    file = folder / write_packed(weights, folder, WRITER, "own_text", quantiser)
    try:
        ids = torch.from_numpy(_sequences(weights, bos, file))
    finally:
        file.unlink()
    return Calibration(ids, {"text": "written by the model itself", "seed": _SEED, "tokens": ids.numel()})


def _sequences(weights: LlamaWeights, bos: int | None, file: Path) -> np.ndarray:
    config, length = weights.config, sequence_length(weights)
    embedding = weights.read(f"{EMBEDDING}.weight").numpy()
    model = open_packed(file, config, length, torch.get_num_threads())
    generator = np.random.Generator(np.random.PCG64(_SEED))
    ids = np.empty((SEQUENCES, length), np.int64)
    ids[:, 0] = generator.integers(config.vocab_size, size=SEQUENCES) if bos is None else bos
    caches = [model.new_cache() for _ in ids]
    for step in range(1, length):
        rows = embedding[ids[:, step - 1], None]
        ids[:, step] = _sample(model.step(list(zip(caches, rows, strict=True))), generator)
    return ids


def _sample(logits: Sequence[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Draws a token of each row of logits [V] with the chances that softmax gives them: int64 [rows]."""
    found = np.empty(len(logits), np.int64)
    for index, (row, share) in enumerate(zip(logits, generator.random(len(logits)), strict=True)):
        chances = np.exp(row - row.max())
        # First the run of neighbours, then the token in it: running sums of all tokens take long.
        starts = np.arange(0, len(row), _RUN)
        sums = np.add.reduceat(chances, starts, dtype=np.float64).cumsum()
        if not np.isfinite(sums[-1]):
            raise ExportError("language model: computes numbers that are not finite, and cannot write a text")
        wanted = share * sums[-1]
        run = int(sums.searchsorted(wanted, side="right"))
        start, before = starts[run], sums[run - 1] if run else 0.0
        inner = chances[start : start + _RUN].cumsum(dtype=np.float64)
        place = int(inner.searchsorted(wanted - before, side="right"))
        found[index] = start + min(place, len(inner) - 1)
    return found
