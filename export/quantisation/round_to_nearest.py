"""Round-to-nearest quantisation of matrices, block by block, without calibration data.

The scale of a block is chosen among several for the least squared error, and then set to the one that is best
for the codes. g4v.export.quantisation.codes describes codes and scales.
"""

from __future__ import annotations

import torch
from torch import Tensor

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.checkpoint.threads import threads_for
from g4v.export.quantisation.bit_allocation import BitAllocation
from g4v.export.quantisation.codes import BLOCK, Quantised

_VALUES = 1 << 17  # of a matrix that are worked on at once, so that they stay in the cache
# By what the value of largest magnitude is divided, in units of the largest code's magnitude. It falls on the
# end of the range (1), or a little outside it, which gives the others a finer grid.
_HALF_STEP = 2.0**-11  # largest relative error of float16, where it is neither too large nor too small
_RANGES = {4: (1.0, 0.94, 0.88, -0.94, -0.875), 8: (1.0,)}


class RoundToNearest:
    """Rounds every matrix of a decoder to the nearest codes (a `Quantiser`). Codes of the files are kept.

    weights: of the decoder.
    precision: "int8" or "int4".
    """

    def __init__(self, weights: LlamaWeights, precision: str) -> None:
        self.weights, self.allocation = weights, BitAllocation(weights, precision)
        self.made: dict[str, str] = {}

    def __call__(self, *names: str) -> list[Quantised]:
        return [self._codes(name) for name in names]

    def _codes(self, name: str) -> Quantised:
        stored = self.allocation.stored_codes(name, self.made)
        if stored is not None:
            return stored
        bits = self.allocation.bits(name)
        self.made[name] = f"nearest, {bits} bits"
        return quantise(self.weights.read(f"{name}.weight"), bits)


@torch.no_grad()
def quantise(weight: Tensor, bits: int) -> Quantised:
    """Rounds a matrix to the nearest block-wise codes; each block's scale minimises its squared error.

    weight: floating point, [out, in].
    bits: of a code, 4 or 8.

    The same weights always give the same codes.
    """
    rows, columns = weight.shape
    blocks = -(-columns // BLOCK)
    codes = torch.empty(rows, blocks, BLOCK, dtype=torch.uint8)
    scales = torch.empty(rows, blocks)
    count = max(1, _VALUES // columns)
    with threads_for(weight.numel()):
        for start in range(0, rows, count):
            part = weight[start : start + count].float()
            padded = torch.nn.functional.pad(part, (0, blocks * BLOCK - columns)).view(-1, blocks, BLOCK)
            end = start + len(part)
            codes[start:end], scales[start:end] = _quantise_blocks(padded, bits)
    return Quantised(codes, _stored(scales), bits, columns)


def _stored(scales: Tensor) -> Tensor:
    """The scales as float16 holds them, so that they can be stored so; unchanged where that loses bits."""
    rounded = scales.half().float()
    exact = (rounded - scales).abs() <= _HALF_STEP * scales.abs()
    return rounded if bool(exact.all()) else scales


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
    """The reduction of the squared error of zeros that codes bring, and their least-squares scale."""
    products = (blocks * codes).sum(-1, keepdim=True)
    power = codes.square().sum(-1, keepdim=True)
    scales = torch.where(power == 0, 0, products / power)
    return products * scales, scales
