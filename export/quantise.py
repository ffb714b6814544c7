"""Weight-only quantisation of matrices, block by block, as ONNX Runtime's MatMulNBits reads it.

A block is 32 neighbours of one row of [out, in]; it has one scale, and code 2^(bits - 1) stands for zero:
w = (code - 2^(bits - 1)) * scale. The scale is chosen among several for the least squared error and then set
to the one that is best for its codes. Nothing but the weights is needed: no calibration data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

BITS = {"int4": 4, "int8": 8}
BLOCK = 32
_ROWS = 1024  # rows of a matrix that are worked on at once, so that memory stays bounded
# By what the value of largest magnitude is divided, in units of the largest code's magnitude. It falls on the
# end of the range (1), or a little outside it, which gives the others a finer grid.
_RANGES = {4: (1.0, 0.94, 0.88, -0.94, -0.875), 8: (1.0,)}


@dataclass(frozen=True)
class Quantised:
    """codes: uint8 [out, blocks, 32] (one code each, not packed); scales: float32 [out, blocks]."""

    codes: Tensor
    scales: Tensor
    bits: int
    columns: int  # of the matrix; the last block is filled up with zeros

    @classmethod
    def of_rows(cls, parts: Sequence[Quantised]) -> Quantised:
        """Several matrices of one width below each other."""
        first = parts[0]
        codes, scales = (torch.cat([getattr(part, name) for part in parts]) for name in ("codes", "scales"))
        return cls(codes, scales, first.bits, first.columns)

    def packed(self) -> np.ndarray:
        """uint8 [out, blocks, 32 * bits / 8]; of two 4-bit codes the first is in the low half."""
        if self.bits == 8:
            return self.codes.numpy()
        return (self.codes[..., 0::2] | (self.codes[..., 1::2] << 4)).numpy()

    def dequantised(self) -> Tensor:
        """float32 [out, in]: the matrix that MatMulNBits multiplies with."""
        values = (self.codes.float() - 2 ** (self.bits - 1)) * self.scales[..., None]
        return values.flatten(1)[:, : self.columns]


def quantise_linears(model: nn.Module, bits: int) -> None:
    """Rounds the weight of every Linear in place, and keeps its codes for `codes_of`. An embedding that
    shares its weight with one of them keeps the old values.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            codes = quantise(module.weight, bits)
            rounded = codes.dequantised().to(module.weight.dtype)
            module.weight = nn.Parameter(rounded, requires_grad=False)
            module._g4v_codes = codes  # type: ignore[assignment]


def codes_of(module: nn.Linear) -> Quantised | None:
    """What `quantise_linears` left."""
    return getattr(module, "_g4v_codes", None)


@torch.no_grad()
def quantise(weight: Tensor, bits: int) -> Quantised:
    """weight: floating [out, in]; bits: 4 or 8. The same weights always give the same codes."""
    rows, columns = weight.shape
    blocks = -(-columns // BLOCK)
    codes = torch.empty(rows, blocks, BLOCK, dtype=torch.uint8)
    scales = torch.empty(rows, blocks)
    for start in range(0, rows, _ROWS):
        part = weight[start : start + _ROWS].float()
        padded = torch.nn.functional.pad(part, (0, blocks * BLOCK - columns)).view(-1, blocks, BLOCK)
        end = start + len(part)
        codes[start:end], scales[start:end] = _quantise_blocks(padded, bits)
    return Quantised(codes, scales, bits, columns)


def _quantise_blocks(blocks: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    half = 2 ** (bits - 1)
    extreme = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    best_error = torch.full_like(extreme, float("inf"))
    best_codes, best_scales = torch.zeros_like(blocks), torch.zeros_like(extreme)
    for share in _RANGES[bits]:
        scales = extreme / (-half * share)  # the largest value has the code -half, which has no opposite
        inverse = torch.where(scales == 0, 0, 1 / scales)
        codes = (blocks * inverse).round().clamp(-half, half - 1)
        # For given codes the squared error is least at this scale.
        power = codes.square().sum(-1, keepdim=True)
        scales = torch.where(power == 0, 0, (blocks * codes).sum(-1, keepdim=True) / power)
        error = (blocks - codes * scales).square().sum(-1, keepdim=True)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_codes = torch.where(better, codes, best_codes)
        best_scales = torch.where(better, scales, best_scales)
    return (best_codes + half).to(torch.uint8), best_scales[..., 0]
