"""Calls into the core, on anything that it can view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def core() -> Any:
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
    """Writes `out`.

    On a GPU, stream is the CUDA stream to run on and allocate(bytes) makes uint8 memory there for the kernel.
    version: of the CPU kernel, the best where empty.
    """
    core().cross_attention(q, k_own, v_own, k_mem, v_mem, mem_len, scale, out, stream, allocate, version)
