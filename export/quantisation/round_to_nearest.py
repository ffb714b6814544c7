"""Round-to-nearest quantisation of a decoder's matrices: `g4v.weights.round_to_nearest` makes the codes.

g4v.export.quantisation.codes describes codes and scales.
"""

from __future__ import annotations

import torch
from torch import Tensor

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.quantisation.bit_allocation import BitAllocation
from g4v.export.quantisation.codes import Quantised
from g4v.weights import round_to_nearest


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


def quantise(weight: Tensor, bits: int) -> Quantised:
    """Rounds a matrix to the nearest block-wise codes; each block's scale minimises its squared error.

    weight: floating point, [out, in].
    bits: of a code, 4 or 8.

    The same weights always give the same codes (g4v.weights.round_to_nearest).
    """
    found = round_to_nearest.quantise(weight.detach().float().numpy(), bits)
    return Quantised(torch.from_numpy(found.codes), torch.from_numpy(found.scales), bits, weight.shape[1])
