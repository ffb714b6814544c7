"""A matrix of block-wise quantised weights, as ONNX Runtime's MatMulNBits reads it.

A block is a run of neighbours of one row of [out, in], 32 unless a file has others. It has one scale, and
code 2^(bits - 1) stands for zero. `round_to_nearest` and `gptq` compute codes; GGUF files hold some already,
which may have blocks of 16 and an offset for each block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from g4v.weights.gguf_codes import BlockCodes

BITS = {"int4": 4, "int8": 8}  # precision of the decoder -> bits of a code


@dataclass(frozen=True)
class Quantised:
    """A matrix [out, in] as block-wise codes: w = (code - 2^(bits - 1)) * scale + offset.

    codes: uint8 [out, blocks, block], one code each, not packed.
    scales: float32 [out, blocks].
    bits: of a code, 4 or 8.
    columns: width of the matrix; the last block is filled up with zeros where there are no offsets.
    offsets: float32 [out, blocks], added to every weight of a block; None where nothing is added.
    """

    codes: Tensor
    scales: Tensor
    bits: int
    columns: int
    offsets: Tensor | None = None

    @property
    def block(self) -> int:
        """Number of weights in a block."""
        return self.codes.shape[-1]

    @property
    def kind(self) -> tuple[int, int]:
        """Bits and block size. Matrices of equal kind and width can be one matrix (`of_rows`)."""
        return self.bits, self.block

    @classmethod
    def of_rows(cls, parts: Sequence[Quantised]) -> Quantised:
        """Returns one matrix of the rows of several, which must be of one kind and width."""
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

    def rows(self, first: int, last: int) -> Quantised:
        """Returns the rows `first` ... `last` - 1."""
        offsets = None if self.offsets is None else self.offsets[first:last]
        return Quantised(self.codes[first:last], self.scales[first:last], self.bits, self.columns, offsets)

    @classmethod
    def of_codes(cls, found: BlockCodes) -> Quantised:
        """Returns the codes that a GGUF file holds."""
        offsets = None if found.offsets is None else torch.from_numpy(found.offsets)
        codes, scales = torch.from_numpy(found.codes), torch.from_numpy(found.scales)
        return cls(codes, scales, found.bits, codes[0].numel(), offsets)

    def block_codes(self) -> BlockCodes:
        """Returns the codes as NumPy arrays, of which `g4v.weights` makes files."""
        offsets = None if self.offsets is None else self.offsets.numpy()
        return BlockCodes(self.codes.numpy(), self.scales.numpy(), offsets, self.bits, "")

    def packed(self) -> np.ndarray:
        """Returns uint8 [out, blocks, block * bits / 8]; of two 4-bit codes the first is in the low half."""
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
        """Returns the matrix of `packed` codes.

        packed: uint8 [out, blocks, block * bits / 8].
        scales: float32, [out, blocks] or flat.
        offsets: float32 [blocks, out], or None.
        """
        codes = torch.from_numpy(packed)
        if bits == 4:
            codes = torch.stack([codes & 15, codes >> 4], -1).flatten(-2)
        added = None if offsets is None else torch.from_numpy(offsets).t()
        return cls(codes, torch.from_numpy(scales).view(codes.shape[:2]), bits, columns, added)

    def dequantised(self) -> Tensor:
        """Returns the matrix that is multiplied with, float32 [out, in]."""
        values = self.codes.float().sub_(2 ** (self.bits - 1)).mul_(self.scales[..., None])
        if self.offsets is not None:
            values.add_(self.offsets[..., None])
        return values.flatten(1)[:, : self.columns]
