"""The CUDA attention by a kernel that the library does not choose itself, on torch tensors; for measurements.

`g4v.ops.cross_attention` takes what the library chooses. This calls g4v_cuda_cross_attention_with of
libg4v_cuda (csrc/kernels/cuda/library.h) with the structures that the GPU tests use.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch
from torch import Tensor

import g4v

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "python"))
from cuda_driver import ELEMENTS, WGMMA, Params, Plan, Rows  # noqa: E402 (the path above comes first)

__all__ = ["WGMMA", "ForcedKernel"]


def rows(tensor: Tensor) -> Rows:
    return Rows(tensor.data_ptr(), *tensor.stride()[:3])


class ForcedKernel:
    """One call's sizes and buffers: `start` runs it on torch's current stream and can be captured in a graph.

    q and out are [B, H, Nq, D], k_own and v_own too, k_mem and v_mem [B, H, N, D]: CUDA tensors of one 16-bit
    type, any strides but the last. Raises RuntimeError with the library's reason where it refuses the kernel.
    """

    def __init__(
        self, kernel: int, q: Tensor, k_own: Tensor, v_own: Tensor, k_mem: Tensor, v_mem: Tensor, out: Tensor
    ) -> None:
        path = next(Path(folder) / "libg4v_cuda.so" for folder in g4v.__path__)
        if not q.is_cuda:
            raise RuntimeError("the tensors are not on a GPU")
        self.library = ctypes.CDLL(str(path))
        self.library.g4v_cuda_error_text.restype = ctypes.c_char_p
        self.kernel, self.device, self.kept = (
            kernel,
            q.device.index or 0,
            (q, k_own, v_own, k_mem, v_mem, out),
        )
        self.params = Params(
            dtype=ELEMENTS[str(q.dtype).removeprefix("torch.")],
            batch=q.shape[0],
            heads=q.shape[1],
            queries=q.shape[2],
            own_rows=k_own.shape[2],
            memory_rows=k_mem.shape[2],
            head_size=q.shape[3],
            scale=q.shape[3] ** -0.5,
            q=rows(q),
            k_own=rows(k_own),
            v_own=rows(v_own),
            k_mem=rows(k_mem),
            v_mem=rows(v_mem),
            out=rows(out),
        )
        self.plan = Plan()
        arguments = (ctypes.byref(self.params), self.device, kernel, ctypes.byref(self.plan))
        self.expect(self.library.g4v_cuda_cross_attention_plan_with(*arguments))
        self.workspace = torch.empty(self.plan.workspace_bytes, dtype=torch.uint8, device=q.device)

    def expect(self, code: int) -> None:
        if code:
            raise RuntimeError(self.library.g4v_cuda_error_text(code).decode())

    def start(self) -> None:
        self.expect(
            self.library.g4v_cuda_cross_attention_with(
                ctypes.byref(self.params),
                self.device,
                self.kernel,
                ctypes.c_void_p(self.workspace.data_ptr()),
                ctypes.c_size_t(self.plan.workspace_bytes),
                ctypes.c_void_p(torch.cuda.current_stream(self.device).cuda_stream),
            )
        )
