"""The error of everything that reads weights: one line that names the file or the tensor."""

from __future__ import annotations

from g4v.errors import Error

AGAIN = "download or copy it again"  # ends what is said of a damaged file


class CheckpointError(Error):
    """A base model or a checkpoint is missing, damaged, unsafe to read, or of another kind."""


def one_line(error: BaseException, limit: int = 300) -> str:
    """The text of a library's exception on one line, cut after `limit` characters."""
    return " ".join(str(error).split())[:limit] or type(error).__name__
