"""A bundle whose decoder the core runs itself: random weights, and room for several turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
from g4v.model.presets import TINY


def write_packed_bundle(folder: Path) -> Path:
    """Writes it, with a decoder alone, and returns its folder, which is in `folder`."""
    llama = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 64,
        "max_position_embeddings": 1024,
    }
    preset = replace(TINY, name="packed", llama={**TINY.llama, **llama})
    run = write_random_checkpoint(folder / "run", preset, vocab_size=280)
    export_bundle(run, folder / "bundle", only=["decoder"])
    return folder / "bundle"
