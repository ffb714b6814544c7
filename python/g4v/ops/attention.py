"""The abstractor's attention: few queries, a short list of own keys, a long memory of keys.

csrc/kernels/cross_attention.h has the formula.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from ..errors import ArgumentError
from . import _kernels


def cross_attention(
    q: Any,
    k_own: Any,
    v_own: Any,
    k_mem: Any,
    v_mem: Any,
    mem_len: Any = None,
    scale: float | None = None,
    out: Any = None,
) -> Any:
    """Attention to own and memory keys: softmax(scale * q [k_own; k_mem]^T) [v_own; v_mem].

    The two segments are read where they lie; nothing is concatenated.

    q: [B, H, Nq, D], float32, float16 or bfloat16; D is 32, 64, 80, 96 or 128. k_own, v_own: [B, H, Nq, D],
    or None both. k_mem, v_mem: [B, H, N, D]. All may be views with any strides but the last, which is 1: keys
    and values of many layers can come out of one matrix product and be read where they lie. Nq and N may be
    0; a query without any key gives zeros.

    mem_len: int [B], the leading rows of each memory that count; None counts all. On a GPU it must be int32
    with values from 0 to N, which are not checked there. scale: 1 / sqrt(D) where it is None. out: [B, H, Nq,
    D] to write to, of q's dtype, overlapping no input; None makes a new one, contiguous, of q's library.

    Returns the result, `out` where that was given; sums are in float32. The same call gives the same bits on
    the same machine. For torch tensors without `out`, gradients flow to q, k_own, v_own, k_mem and v_mem.

    Raises ArgumentError: a shape, stride, dtype or device that does not fit, by name, before anything runs.
    RuntimeUnavailable: tensors on a GPU that the kernels cannot use here.
    """
    if scale is None:
        shape: Any = getattr(q, "shape", ())
        scale = 1.0 / math.sqrt(shape[-1]) if len(shape) and shape[-1] else 1.0
    if _is_torch(q):
        from . import _torch

        return _torch.run(q, k_own, v_own, k_mem, v_mem, mem_len, float(scale), out)
    if out is None:
        out = _empty_like(q)
    stream = allocate = None
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(q, cupy.ndarray):
        stream = cupy.cuda.get_current_stream().ptr

        def allocate(size: int) -> Any:
            return cupy.empty(size, "uint8")

    _kernels.run(q, k_own, v_own, k_mem, v_mem, _int32(mem_len), float(scale), out, stream, allocate)
    return out


def _is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _empty_like(q: Any) -> Any:
    if not hasattr(q, "__array_namespace__") and not hasattr(q, "__dlpack__"):
        raise ArgumentError(
            "cross_attention: q must be an array (NumPy, PyTorch or any that has __dlpack__), "
            f"not {type(q).__name__}"
        )
    library = sys.modules[type(q).__module__.partition(".")[0]]  # numpy, cupy
    if not hasattr(library, "empty"):
        raise ArgumentError(
            f"cross_attention: give out, since {library.__name__} makes no arrays to write to"
        )
    return library.empty(q.shape, q.dtype)


def _int32(lengths: Any) -> Any:
    if lengths is None or not hasattr(lengths, "dtype"):
        import numpy as np

        return None if lengths is None else np.asarray(lengths, np.int32)
    if str(lengths.dtype).startswith(("int", "uint")):
        return lengths.astype("int32")
    return lengths


def versions() -> list[str]:
    """Names of the instruction sets that g4v's CPU kernels can use here, best first; the first one is used.

    From "amx", "avx512", "avx2" and "plain" (standard C++), those that this processor has. "amx" multiplies
    bfloat16 matrices; values of float32 and float16 it splits in three bfloat16 terms, which is as exact as
    float32. The environment variable G4V_CPU, read when the first kernel runs, names the best one to use:
    with G4V_CPU=avx2 this returns ["avx2", "plain"].

    Raises ArgumentError: G4V_CPU names none of them, or one that this processor does not have.
    """
    return _kernels.core().kernel_versions()


def set_threads(count: int) -> None:
    """Sets how many CPU threads `cross_attention` uses; calls share them. Default: one per usable core.

    Raises ArgumentError: count is below 1.
    """
    _kernels.core().set_kernel_threads(count)
