"""The kernel as torch's operator g4v::cross_attention: fake tensors, gradients, torch.compile."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError
from . import _kernels


def run(
    q: Tensor,
    k_own: Tensor | None,
    v_own: Tensor | None,
    k_mem: Tensor,
    v_mem: Tensor,
    mem_len: Any,
    scale: float,
    out: Tensor | None,
) -> Tensor:
    for name, value in (("k_own", k_own), ("v_own", v_own), ("k_mem", k_mem), ("v_mem", v_mem), ("out", out)):
        optional = name in ("k_own", "v_own", "out")
        if not isinstance(value, Tensor) and not (optional and value is None):
            raise ArgumentError(
                f"cross_attention: {name} must be a torch tensor as q is, not {type(value).__name__}"
            )
    if mem_len is not None:
        mem_len = torch.as_tensor(mem_len, device=q.device)
        if mem_len.is_floating_point():
            raise ArgumentError(f"cross_attention: mem_len must be of integers, not {mem_len.dtype}")
        mem_len = mem_len.to(torch.int32).contiguous()
    if out is None:
        return _operator(q, k_own, v_own, k_mem, v_mem, mem_len, scale)
    tensors = (q, k_own, v_own, k_mem, v_mem, out)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors):
        raise ArgumentError("cross_attention: out cannot be given where gradients are recorded")
    _call(q, k_own, v_own, k_mem, v_mem, mem_len, scale, out)
    return out


def _call(
    q: Tensor,
    k_own: Tensor | None,
    v_own: Tensor | None,
    k_mem: Tensor,
    v_mem: Tensor,
    mem_len: Tensor | None,
    scale: float,
    out: Tensor,
) -> None:
    stream = allocate = None
    if q.is_cuda:
        # Memory of PyTorch's allocator belongs to the current stream: it may be given back before the kernel
        # has run, and be captured in a graph.
        stream = torch.cuda.current_stream(q.device).cuda_stream

        def allocate(size: int) -> Tensor:
            return torch.empty(size, dtype=torch.uint8, device=q.device)

    def bare(x: Tensor | None) -> Any:  # DLPack refuses tensors that record gradients
        return None if x is None else x.detach()

    keys_values = bare(k_own), bare(v_own), bare(k_mem), bare(v_mem)
    _kernels.run(bare(q), *keys_values, bare(mem_len), scale, bare(out), stream, allocate)


@torch.library.custom_op("g4v::cross_attention", mutates_args=())
def _operator(
    q: Tensor,
    k_own: Tensor | None,
    v_own: Tensor | None,
    k_mem: Tensor,
    v_mem: Tensor,
    mem_len: Tensor | None,
    scale: float,
) -> Tensor:
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    _call(q, k_own, v_own, k_mem, v_mem, mem_len, scale, out)
    return out


@_operator.register_fake
def _fake(
    q: Tensor,
    k_own: Tensor | None,
    v_own: Tensor | None,
    k_mem: Tensor,
    v_mem: Tensor,
    mem_len: Tensor | None,
    scale: float,
) -> Tensor:
    return torch.empty(q.shape, dtype=q.dtype, device=q.device)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # torch names the arguments
    *tensors, scale = inputs
    ctx.save_for_backward(*tensors, output)
    ctx.scale = scale


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients of the formula, with the weights P computed anew rather than kept.

    dV = P^T dO, dS = P * (dO V^T - rowsum(dO * O)), dQ = scale * dS K, dK = scale * dS^T Q, all in float32.
    """
    q, k_own, v_own, k_mem, v_mem, mem_len, out = ctx.saved_tensors
    own = 0 if k_own is None else k_own.shape[2]
    keys = k_mem if k_own is None else torch.cat([k_own, k_mem], dim=2)
    values = v_mem if v_own is None else torch.cat([v_own, v_mem], dim=2)
    keys, values, queries, grad = (x.float() for x in (keys, values, q, grad))
    scores = queries @ keys.transpose(-1, -2) * ctx.scale
    if mem_len is not None:
        place = torch.arange(keys.shape[2], device=q.device) - own
        scores = scores.masked_fill(place >= mem_len[:, None, None, None], float("-inf"))
    weights = torch.softmax(scores, dim=-1)
    if mem_len is not None and own == 0:
        # A query without keys has zeros for weights, where a softmax has NaN.
        weights = weights.masked_fill((mem_len == 0)[:, None, None, None], 0.0)
    grad_values = weights.transpose(-1, -2) @ grad
    grad_scores = weights * (grad @ values.transpose(-1, -2) - (grad * out.float()).sum(-1, keepdim=True))
    grad_q = (grad_scores @ keys * ctx.scale).to(q.dtype)
    grad_keys = (grad_scores.transpose(-1, -2) @ queries * ctx.scale).to(q.dtype)
    grad_values = grad_values.to(q.dtype)
    own_grads = (None, None) if k_own is None else (grad_keys[:, :, :own], grad_values[:, :, :own])
    return grad_q, *own_grads, grad_keys[:, :, own:], grad_values[:, :, own:], None, None


_operator.register_autograd(_gradients, setup_context=_save)
