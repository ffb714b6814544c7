"""How the decoder's matrices become codes: each for itself, or fitted to what they multiply.

Rounding to the nearest code minds the weights, but what counts is what comes out of a product. Given inputs
that a matrix meets in use, every column is rounded in turn, and the columns that are still to come make up
for its error (GPTQ: Frantar et al., 2023). Inputs are those behind the layers that are already rounded, so
that later ones make up for earlier ones, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from g4v.export.llama import EMBEDDING, HEAD, LlamaWeights
from g4v.export.quantise import BITS, BLOCK, Quantised, quantise
from torch import Tensor, nn

_DAMPING = 0.01  # of the mean square of the inputs, added to each
_PANEL = 64  # columns that are rounded before the others are told of it
_HEAD_BITS = 8  # at 4 bits the head alone costs SmolLM2-135M 8% of its perplexity


def bits_of(name: str, precision: str) -> int:
    """Bits of a code of the matrix `name`."""
    return max(BITS[precision], _HEAD_BITS) if name == HEAD else BITS[precision]


class Rounding(Protocol):
    """Gives the codes of matrices that are multiplied with one input; asked in the order of the graph."""

    def __call__(self, *names: str) -> list[Quantised]: ...


class ToNearest:
    """Every matrix for itself: all that it needs is the matrix."""

    def __init__(self, weights: LlamaWeights, precision: str) -> None:
        self.weights, self.precision = weights, precision

    def __call__(self, *names: str) -> list[Quantised]:
        return [
            quantise(self.weights.read(f"{name}.weight"), bits_of(name, self.precision)) for name in names
        ]


class _Reached(Exception):
    """The forward pass has come to the product whose inputs are wanted."""


class Fitted:
    """Fits the codes to the products' inputs while the token sequences `ids`, int64 [n, L], go through the
    layers one by one, in the memory of one layer.
    """

    @torch.no_grad()
    def __init__(self, weights: LlamaWeights, precision: str, ids: Tensor) -> None:
        self.weights, self.precision = weights, precision
        self.x = weights.read(f"{EMBEDDING}.weight")[ids]
        frequencies, scaling = weights.rotary_frequencies()
        angles = torch.arange(ids.shape[1])[:, None] * frequencies
        angles = torch.cat([angles, angles], -1)[None]
        self.rotary = angles.cos() * scaling, angles.sin() * scaling
        self.mask = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)[None, None]
        self.index = -1
        self.layer: Any = None

    @torch.no_grad()
    def __call__(self, *names: str) -> list[Quantised]:
        if names == (HEAD,):
            self._leave_layer()
            mean_square = self.x.square().mean(-1, keepdim=True) + self.weights.config.rms_norm_eps
            norm = self.x * mean_square.rsqrt() * self.weights.read("model.norm.weight")
            products = _second_moment([norm])
            return [fit(self.weights.read(f"{HEAD}.weight"), bits_of(HEAD, self.precision), products)]
        _, _, index, *_ = names[0].split(".")  # model.layers.N.…
        if int(index) != self.index:
            self._leave_layer()
            self._enter_layer(int(index))
        modules = [self.layer.get_submodule(name.split(".", 3)[3]) for name in names]
        products = _second_moment(self._inputs(modules[0]))
        found = []
        for name, module in zip(names, modules, strict=True):
            found.append(fit(module.weight, bits_of(name, self.precision), products))
            module.weight = nn.Parameter(found[-1].dequantised(), requires_grad=False)
        return found

    def _enter_layer(self, index: int) -> None:
        from transformers.models.llama.modeling_llama import LlamaDecoderLayer

        with torch.device("meta"):
            self.layer = LlamaDecoderLayer(self.weights.config, index)  # type: ignore[no-untyped-call]
        self.layer.load_state_dict(self.weights.layer(index), assign=True)
        self.layer.eval()
        self.index = index

    def _leave_layer(self) -> None:
        """Takes the sequences through the layer, all of whose matrices are rounded by now."""
        if self.layer is not None:
            self.x = torch.cat([self._forward(row[None]) for row in self.x])
            self.layer = None

    def _forward(self, x: Tensor) -> Tensor:
        result = self.layer(x, position_embeddings=self.rotary, attention_mask=self.mask)
        return result[0] if isinstance(result, tuple) else result

    def _inputs(self, module: nn.Module) -> list[Tensor]:
        """What the linear layer `module` is given, sequence by sequence."""
        seen: list[Tensor] = []

        def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            seen.append(given[0])
            raise _Reached

        handle = module.register_forward_pre_hook(keep)
        try:
            for row in self.x:
                try:
                    self._forward(row[None])
                except _Reached:
                    continue
        finally:
            handle.remove()
        return seen


def _second_moment(inputs: Sequence[Tensor]) -> Tensor:
    """Mean of x x^T over all rows of the inputs [..., n]: float64 [n, n]."""
    width = inputs[0].shape[-1]
    total = torch.zeros(width, width)
    for part in inputs:
        rows = part.reshape(-1, width)
        total.addmm_(rows.t(), rows)
    return total.double() / sum(part.numel() // width for part in inputs)


@torch.no_grad()
def fit(weight: Tensor, bits: int, products: Tensor) -> Quantised:
    """weight: floating [out, in]; products: float64 [in, in], the second moment of the inputs. The scales are
    those of `quantise`, the codes those that change what comes out least. Columns that meet large inputs are
    rounded first, while there are others to make up for them.
    """
    plain = quantise(weight, bits)
    half, (rows, columns) = 2 ** (bits - 1), weight.shape
    order = products.diag().argsort(descending=True, stable=True)
    damped = products[order][:, order]
    damped.diagonal().add_(_DAMPING * max(float(damped.diagonal().mean()), 1e-12))
    # Row i of this factor says how column i's error is spread over those behind it.
    spread = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True).float()
    left = weight.float().t()[order]  # [in, out], changed as errors come in
    scales = plain.scales.t()[order // BLOCK]
    inverses = torch.where(scales == 0, 0, 1 / scales)
    codes = torch.empty_like(left)
    for start in range(0, columns, _PANEL):
        end = min(start + _PANEL, columns)
        errors = torch.empty(end - start, rows)
        for column in range(start, end):
            codes[column] = (left[column] * inverses[column]).round_().clamp_(-half, half - 1)
            error = (left[column] - codes[column] * scales[column]) / spread[column, column]
            left[column + 1 : end].addr_(spread[column, column + 1 : end], error, alpha=-1)
            errors[column - start] = error
        left[end:].addmm_(spread[start:end, end:].t(), errors, alpha=-1)
    whole = torch.zeros(plain.codes.shape[1] * BLOCK, rows)
    whole[order] = codes
    packed = (whole.t() + half).to(torch.uint8).view(plain.codes.shape)
    return Quantised(packed.contiguous(), plain.scales, bits, columns)
