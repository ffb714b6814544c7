"""The error of this package: one line that names the file or the tensor."""

from __future__ import annotations

from g4v.errors import Error


class CheckpointError(Error):
    """A base model or a checkpoint is missing, damaged, unsafe to read, or of another kind."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """The text of a library's exception on one line, cut after `limit` characters."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


def of_kind(kind: object) -> str:
    """What is said of a model by its model_type in config.json; None where that has none."""
    return "config.json names no model_type" if kind is None else f"is a {kind!r:.80} model"
