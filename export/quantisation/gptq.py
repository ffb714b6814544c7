"""GPTQ: quantises the decoder's matrices so that the results of their products change least.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022
(arXiv 2210.17323). Given inputs that a matrix meets in use, its columns are rounded in turn, and the columns
that are still to come make up for the error. Inputs are taken behind the layers that are already quantised,
so that later layers make up for earlier ones, too.

Codes that a file holds already (most GGUF files do) are not rounded again where the precision has room for
them (g4v.export.quantisation.bit_allocation).
"""

from __future__ import annotations

import torch
from torch import Tensor

from g4v.export.checkpoint.llama import HEAD, LlamaWeights
from g4v.export.checkpoint.threads import threads_for
from g4v.export.quantisation.bit_allocation import BitAllocation
from g4v.export.quantisation.codes import Quantised
from g4v.export.quantisation.layer_inputs import LayerInputs
from g4v.export.quantisation.round_to_nearest import quantise
from g4v.weights.round_to_nearest import BLOCK

_DAMPING = 0.01  # of the mean square of the inputs, added to each
_PANEL = 32  # columns that are rounded before the others are told of it
_VALUES = 1 << 24  # of a matrix that are rounded at once, which bounds the memory
_COLUMNS = 256  # of a symmetric or triangular matrix that are computed at once


class GPTQ:
    """Quantises the matrices of a decoder by GPTQ (a `Quantiser`), with one layer in memory at a time.

    weights: of the decoder.
    precision: "int8" or "int4".
    ids: calibration tokens, int64 [n, L]: n sequences of L tokens, which go through every layer once.
    """

    def __init__(self, weights: LlamaWeights, precision: str, ids: Tensor) -> None:
        self.allocation = BitAllocation(weights, precision)
        self.made: dict[str, str] = {}
        self._inputs = LayerInputs(weights, ids)

    @torch.no_grad()
    def __call__(self, *names: str) -> list[Quantised]:
        inputs = self._inputs.of(names[0])
        found = {name: self.allocation.stored_codes(name, self.made) for name in names}
        left = [name for name, codes in found.items() if codes is None]
        if left:
            products = _second_moment(inputs)
            for bits in sorted({self.allocation.bits(name) for name in left}):
                same = [name for name in left if self.allocation.bits(name) == bits]
                found |= self._fit(same, bits, products)
        return [codes for codes in found.values() if codes is not None]

    def _fit(self, names: list[str], bits: int, products: Tensor) -> dict[str, Quantised]:
        """The codes of matrices that read the same inputs; no row has to do with another, so they are one."""
        matrices = {name: self._inputs.matrix(name) for name in names}
        codes = gptq(torch.cat([*matrices.values()]), bits, products)
        found, first = {}, 0
        for name, matrix in matrices.items():
            found[name] = codes.rows(first, first := first + len(matrix))
            if name != HEAD:
                self._inputs.put(name, found[name].dequantised())
            self.made[name] = f"fitted, {bits} bits"
        return found


def _second_moment(inputs: Tensor) -> Tensor:
    """Mean of x x^T over all rows of the inputs [..., n]: float64 [n, n]."""
    rows = inputs.flatten(0, -2)
    count, width = rows.shape
    total = torch.empty(width, width)
    for start in range(0, width, _COLUMNS):  # what is below the diagonal is known from above it
        end = min(start + _COLUMNS, width)
        part = rows[:, :end].t() @ rows[:, start:end]
        total[:end, start:end], total[start:end, :end] = part, part.t()
    return total.double() / count


@torch.no_grad()
def gptq(weight: Tensor, bits: int, products: Tensor) -> Quantised:
    """Quantises one matrix by GPTQ; the scales are those of `quantise`.

    weight: floating point, [out, in].
    bits: of a code, 4 or 8.
    products: float64 [in, in], the second moment of the inputs, the mean of x x^T.

    Columns that meet large inputs are rounded first ("act-order" of the authors' code), while there are
    others to make up for them.
    """
    order = products.diag().argsort(descending=True, stable=True)
    spread = _spread(products[order][:, order])
    count = max(1, _VALUES // weight.shape[1])
    with threads_for(weight.numel()):
        return Quantised.of_rows([_round(part, bits, order, spread) for part in weight.split(count)])


def _spread(products: Tensor) -> Tensor:
    """The upper factor U of the damped inverse, U^T U; row i says how column i's error is spread over those
    behind it. float32 [in, in].
    """
    products.diagonal().add_(_DAMPING * max(float(products.diagonal().mean()), 1e-12))
    # The factor that begins at the last row is upper, R R^T, and U is its inverse.
    factor = torch.linalg.cholesky(products.flip(0, 1)).flip(0, 1)
    return _inverse(factor.float())


def _inverse(factor: Tensor) -> Tensor:
    """The inverse of an upper triangular matrix, some columns at a time: they are zero below the diagonal."""
    inverse = torch.zeros_like(factor)
    for start in range(0, len(factor), _COLUMNS):
        end = min(start + _COLUMNS, len(factor))
        unit = torch.eye(end, dtype=factor.dtype)[:, start:]
        inverse[:end, start:end] = torch.linalg.solve_triangular(factor[:end, :end], unit, upper=True)
    return inverse


def _round(weight: Tensor, bits: int, order: Tensor, spread: Tensor) -> Quantised:
    """Rounds rows of a matrix, column by column in the order given."""
    plain = quantise(weight, bits)
    half, (rows, columns) = 2 ** (bits - 1), weight.shape
    left = weight.float().t()[order]  # [in, out], changed as errors come in
    codes = torch.empty_like(left)
    scales = plain.scales.t().contiguous()
    inverses = torch.where(scales == 0, 0, 1 / scales)
    # A view is made once for each: the operators below are so small that making it takes as long.
    blocks, own = (order // BLOCK).tolist(), spread.diagonal().tolist()
    views = zip(left.unbind(), codes.unbind(), blocks, own, strict=True)
    of_block = list(zip(scales.unbind(), inverses.unbind(), strict=True))
    for start in range(0, columns, _PANEL):
        end = min(start + _PANEL, columns)
        errors = torch.empty(end - start, rows)
        for column, error in enumerate(errors.unbind(), start):
            values, code, block, share = next(views)
            scale, inverse = of_block[block]
            torch.mul(values, inverse, out=code).round_().clamp_(-half, half - 1)
            torch.addcmul(values, code, scale, value=-1, out=error).div_(share)
            left[column + 1 : end].addr_(spread[column, column + 1 : end], error, alpha=-1)
        left[end:].addmm_(spread[start:end, end:].t(), errors, alpha=-1)
    whole = torch.zeros(plain.codes.shape[1] * BLOCK, rows)
    whole[order] = codes
    packed = (whole.t() + half).to(torch.uint8).view(plain.codes.shape)
    return Quantised(packed.contiguous(), plain.scales, bits, columns)
