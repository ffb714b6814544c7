"""Errors of the trainer: one line that says what is wrong and, where there is one, the way out."""

from __future__ import annotations

from g4v.errors import Error


class TrainingError(Error):
    """A run cannot start, go on or be saved."""


class AbortedByPeer(TrainingError):
    """Another process has reported why all processes of the run abort; this one says nothing."""
