"""g4v's own kernels for arrays of NumPy, PyTorch, CuPy and every other library with DLPack.

    from g4v.ops import cross_attention

    out = cross_attention(q, k_own, v_own, k_mem, v_mem)

Torch tensors go through an operator of `torch.library`, so that gradients, `torch.compile` and fake tensors
work. Other arrays are read where they are, without a copy. Importing this loads neither NumPy nor PyTorch.
"""

from __future__ import annotations

from .attention import cross_attention, set_threads, versions
from .library import custom_ops_library

__all__ = ["cross_attention", "custom_ops_library", "set_threads", "versions"]
