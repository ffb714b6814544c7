"""Memory that the system does not give, whatever the library says of it: a MemoryError of one line."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

# PyTorch, ONNX Runtime, the loader of shared libraries, the C library, threads.
_WORDS = (
    "can't allocate memory",
    "Failed to allocate memory",
    "failed to map segment",
    "cannot allocate memory",
    "Cannot allocate memory",
    "std::bad_alloc",
    "not enough memory",
    "can't start new thread",
)


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception says that the system has no more memory, or no room for a thread."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(words in str(error) for words in _WORDS)


def check_memory(error: BaseException, doing: str) -> None:
    """Raises a MemoryError of one line where `error` is one by `lacks_memory`; else does nothing.

    doing: what there is no memory for, such as "the export" or a file.
    """
    if lacks_memory(error):
        raise MemoryError(f"there is not enough memory for {doing}") from None


def require_memory_to_save(place: object) -> None:
    """MemoryError unless there is the memory that safetensors takes beside the tensors when it saves a file.

    It asks for a megabyte at once, and ends the process where that is refused.
    """
    try:
        bytearray(4 << 20)
    except MemoryError:
        raise MemoryError(f"there is not enough memory to write {place}") from None


@contextlib.contextmanager
def memory_errors(doing: str) -> Iterator[None]:
    """`check_memory` of every exception inside. It may be used as a decorator."""
    try:
        yield
    except Exception as error:
        check_memory(error, doing)
        raise
