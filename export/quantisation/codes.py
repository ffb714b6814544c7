"""Weight-only quantisation of matrices, block by block, as ONNX Runtime's MatMulNBits reads it.

A block is 32 neighbours of one row of [out, in]; it has one scale, and code 2^(bits - 1) stands for zero:
w = (code - 2^(bits - 1)) * scale. The scale is chosen among several for the least squared error and then set
to the one that is best for its codes. Nothing but the weights is needed: no calibration data.

Codes that a file holds already may have blocks of 16, and an offset that is added to all weights of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from g4v.model.bases.gguf_codes import BlockCodes

BITS = {"int4": 4, "int8": 8}
BLOCK = 32
_VALUES = 1 << 17  # of a matrix that are worked on at once, so that they stay in the cache
# By what the value of largest magnitude is divided, in units of the largest code's magnitude. It falls on the
# end of the range (1), or a little outside it, which gives the others a finer grid.
_RANGES = {4: (1.0, 0.94, 0.88, -0.94, -0.875), 8: (1.0,)}


@dataclass(frozen=True)
class Quantised:
    """codes: uint8 [out, blocks, block] (one code each, not packed); scales: float32 [out, blocks]; offsets:
    the same, or None where nothing is added.
    """

    codes: Tensor
    scales: Tensor
    bits: int
    columns: int  # of the matrix; the last block is filled up with zeros, if there are no offsets
    offsets: Tensor | None = None

    @property
    def block(self) -> int:
        return self.codes.shape[-1]

    @property
    def kind(self) -> tuple[int, int]:
        """What matrices must have in common to be one."""
        return self.bits, self.block

    @classmethod
    def of_rows(cls, parts: Sequence[Quantised]) -> Quantised:
        """Several matrices of one kind and width below each other."""
        first = parts[0]
        codes, scales = (torch.cat([getattr(part, name) for part in parts]) for name in ("codes", "scales"))
        offsets = None
        if any(part.offsets is not None for part in parts):
            zeros = (torch.zeros_like(part.scales) for part in parts)
            offsets = torch.cat(
                [
                    zero if part.offsets is None else part.offsets
                    for part, zero in zip(parts, zeros, strict=True)
                ]
            )
        return cls(codes, scales, first.bits, first.columns, offsets)

    @classmethod
    def of_codes(cls, found: BlockCodes) -> Quantised:
        """What a file holds."""
        offsets = None if found.offsets is None else torch.from_numpy(found.offsets)
        codes, scales = torch.from_numpy(found.codes), torch.from_numpy(found.scales)
        return cls(codes, scales, found.bits, codes[0].numel(), offsets)

    def packed(self) -> np.ndarray:
        """uint8 [out, blocks, block * bits / 8]; of two 4-bit codes the first is in the low half."""
        if self.bits == 8:
            return self.codes.numpy()
        return (self.codes[..., 0::2] | (self.codes[..., 1::2] << 4)).numpy()

    @classmethod
    def unpacked(
        cls,
        packed: np.ndarray,
        scales: np.ndarray,
        bits: int,
        columns: int,
        offsets: np.ndarray | None = None,
    ) -> Quantised:
        """The inverse of `packed`. scales: float32 [out, blocks] or flat; offsets: float32 [blocks, out]."""
        codes = torch.from_numpy(packed)
        if bits == 4:
            codes = torch.stack([codes & 15, codes >> 4], -1).flatten(-2)
        added = None if offsets is None else torch.from_numpy(offsets).t()
        return cls(codes, torch.from_numpy(scales).view(codes.shape[:2]), bits, columns, added)

    def dequantised(self) -> Tensor:
        """float32 [out, in]: the matrix that is multiplied with."""
        values = self.codes.float().sub_(2 ** (self.bits - 1)).mul_(self.scales[..., None])
        if self.offsets is not None:
            values.add_(self.offsets[..., None])
        return values.flatten(1)[:, : self.columns]


@torch.no_grad()
def quantise(weight: Tensor, bits: int) -> Quantised:
    """weight: floating [out, in]; bits: 4 or 8. The same weights always give the same codes."""
    rows, columns = weight.shape
    blocks = -(-columns // BLOCK)
    codes = torch.empty(rows, blocks, BLOCK, dtype=torch.uint8)
    scales = torch.empty(rows, blocks)
    count = max(1, _VALUES // columns)
    for start in range(0, rows, count):
        part = weight[start : start + count].float()
        padded = torch.nn.functional.pad(part, (0, blocks * BLOCK - columns)).view(-1, blocks, BLOCK)
        end = start + len(part)
        codes[start:end], scales[start:end] = _quantise_blocks(padded, bits)
    return Quantised(codes, scales, bits, columns)


def _quantise_blocks(blocks: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    half = 2 ** (bits - 1)
    extreme = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    best_gain, best_inverse = torch.full_like(extreme, -1), torch.zeros_like(extreme)
    for share in _RANGES[bits]:
        inverse = (-half * share) / extreme  # the largest value has the code -half, which has no opposite
        inverse.masked_fill_(extreme == 0, 0)
        gain = _gain(blocks, (blocks * inverse).round_().clamp_(-half, half - 1))[0]
        torch.where(gain > best_gain, inverse, best_inverse, out=best_inverse)
        torch.maximum(gain, best_gain, out=best_gain)
    codes = (blocks * best_inverse).round_().clamp_(-half, half - 1)
    return (codes + half).to(torch.uint8), _gain(blocks, codes)[1][..., 0]


def _gain(blocks: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """By how much the squared error is less than that of zeros, and the scale at which it is least so."""
    products = (blocks * codes).sum(-1, keepdim=True)
    power = codes.square().sum(-1, keepdim=True)
    scales = torch.where(power == 0, 0, products / power)
    return products * scales, scales
