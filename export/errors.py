"""The exporter's own error: one line that the user can act on."""

from g4v.errors import Error


class ExportError(Error):
    """The checkpoint cannot be exported; the message names the file or the setting."""


class InaccurateError(ExportError):
    """A graph does not compute what PyTorch does."""
