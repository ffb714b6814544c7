"""The exceptions of g4v. All derive from `Error`; the message is one sentence.

The codes are those of the core (csrc/base/error.h); the binding raises the class with the same code.
"""

from __future__ import annotations


class Error(Exception):
    """Base class of everything that g4v raises on purpose; `str(error)` is one sentence for the user."""

    code: int = 8


class ArgumentError(Error, ValueError):
    """A value passed by the caller cannot be used: an empty prompt, a NaN, a wrong array shape."""

    code = 1


class BundleError(Error):
    """The bundle is missing, damaged, foreign, newer than this g4v, or lacks what was asked for."""

    code = 2


class VideoError(Error):
    """A video cannot be read: no such file, no video in it, not one frame that decodes."""

    code = 3


class RuntimeUnavailable(Error, RuntimeError):
    """ONNX Runtime is missing, too old, lacks the device asked for, or failed.

    Also: an assistant is used in a process that was forked after the load. Load it after the fork.
    """

    code = 4


class Cancelled(Error):
    """The call was cancelled. The chat is as it was before the turn and can go on."""

    code = 5


class ContextFull(Error):
    """The prompt does not fit into what is left of the model's context; a new chat has room again."""

    code = 6


class OutputError(Error, OSError):
    """A result cannot be written: the folder is not writable, the disk is full, no encoder for the format."""

    code = 7

    # OSError formats two arguments as "[Errno n] text"; ours is always one sentence.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class InternalError(Error, RuntimeError):
    """A fault of g4v itself; please report it with the message."""

    code = 8


class UnsafeVideo(Error):
    """The generated video is withheld: a frame checker found it unsafe."""

    code = 9


class DeadlineExceeded(Error):
    """The turn took longer than `max_turn_ms`. The chat is as it was before the turn and can go on."""

    code = 10


class GeneratorError(Error):
    """The generator given to `load`, such as another server, made no video: it cannot be reached, refuses,
    fails, takes too long, or sends no video.
    """

    code = 11


_BY_CODE: dict[int, type[Error]] = {
    kind.code: kind
    for kind in (
        ArgumentError,
        BundleError,
        VideoError,
        RuntimeUnavailable,
        Cancelled,
        ContextFull,
        OutputError,
        InternalError,
        UnsafeVideo,
        DeadlineExceeded,
        GeneratorError,
    )
}


def error_for_code(code: int) -> type[Error]:
    """The exception class of a code of csrc/base/error.h; `InternalError` for one that is not known."""
    return _BY_CODE.get(int(code), InternalError)
