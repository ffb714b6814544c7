"""Calls into the core, on anything that it can view."""

from __future__ import annotations

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
    version: str = "",
) -> None:
    """Writes `out`. stream: the CUDA stream to run on. version: of the CPU kernel, the best where empty."""
    core().cross_attention(q, k_own, v_own, k_mem, v_mem, mem_len, scale, out, stream, version)
