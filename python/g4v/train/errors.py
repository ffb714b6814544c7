"""The error of the trainer: one line that says what is wrong and, where there is one, the way out."""

from __future__ import annotations

from g4v.errors import Error


class TrainingError(Error):
    """A run cannot start, go on or be saved."""


class StoppedTogether(TrainingError):
    """Another process has said why all of them stop."""
