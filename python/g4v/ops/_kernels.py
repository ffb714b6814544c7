"""Calls the kernels of the C++ core with any arrays that it can read: NumPy's, or with DLPack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def core() -> Any:
    """The C++ module, imported only when a kernel is first called."""
    from .. import _core

    return _core


def run(
    q: Any,
    k_own: Any,
    v_own: Any,
    k_mem: Any,
    v_mem: Any,
    mem_len: Any,
    scale: float,
    out: Any,
    stream: int | None = None,
    allocate: Callable[[int], Any] | None = None,
    version: str = "",
) -> None:
    """Computes `cross_attention` and writes it to `out`; see there for the other arguments.

    On a GPU, stream is the CUDA stream to run on, and allocate(bytes) returns a uint8 array there for the
    kernel's scratch memory. version: the instruction set of the CPU kernel, one of `versions()`; the first of
    them if it is empty.

    Raises ArgumentError: as `cross_attention`, or for a version that this processor does not have.
    """
    core().cross_attention(q, k_own, v_own, k_mem, v_mem, mem_len, scale, out, stream, allocate, version)
