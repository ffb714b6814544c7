"""Errors of the exporter. Each message is one line that says what the user can do."""

from g4v.errors import Error


class ExportError(Error):
    """The checkpoint cannot be exported as asked. The message names what is at fault."""


class InaccurateError(ExportError):
    """An exported graph differs from PyTorch's result by more than the tolerance of its data type."""
