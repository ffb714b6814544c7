"""The error of this package (g4v.weights.errors), and what is said of models of other kinds."""

from __future__ import annotations

from g4v.weights.errors import CheckpointError, one_line

__all__ = ["CheckpointError", "of_kind", "one_line"]


def of_kind(kind: object) -> str:
    """What is said of a model by its model_type in config.json; None where that has none."""
    return "config.json names no model_type" if kind is None else f"is a {kind!r:.80} model"
