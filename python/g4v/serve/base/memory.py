"""Gives memory back to the system that the allocator keeps."""

from __future__ import annotations

import ctypes


def release_unused() -> None:
    """Gives back what was freed, such as graphs as they were read; where the C library cannot, nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc
    if trim is not None:
        trim(0)
