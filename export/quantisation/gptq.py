"""How the decoder's matrices become codes: each for itself, or fitted to what they multiply.

Rounding to the nearest code minds the weights, but what counts is what comes out of a product. Given inputs
that a matrix meets in use, every column is rounded in turn, and the columns that are still to come make up
for its error (GPTQ: Frantar et al., 2023). Inputs are those behind the layers that are already rounded, so
that later ones make up for earlier ones, too.

What a file holds as codes already (most GGUF files do) is not rounded again: its own codes are kept where the
precision has room for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from g4v.export.checkpoint.llama import EMBEDDING, HEAD, LlamaWeights
from g4v.export.quantisation.codes import BITS, BLOCK, Quantised, quantise

_DAMPING = 0.01  # of the mean square of the inputs, added to each
_PANEL = 64  # columns that are rounded before the others are told of it


class Bits:
    """Which codes of the files are kept, and how many bits the others get. The head has 8: at 4 bits it alone
    costs SmolLM2-135M 8% of its perplexity.

    In 4 bits a matrix with codes of 5 to 8 bits keeps them if the files hold most of the weights in 4:
    whoever made them found that it needs more. What adapters change has 8 bits there, too: queries and values
    of SmolLM2-135M cost 1.4% of its perplexity in 4 nearest bits and .04% in 8, for 5 MB of 114.
    """

    def __init__(self, weights: LlamaWeights, precision: str) -> None:
        self.weights, self._most = weights, BITS[precision]
        sizes: dict[int | None, int] = {None: 0, 4: 0, 8: 0}
        for name in weights.products():
            sizes[weights.code_bits(name)] += math.prod(weights.shapes[f"{name}.weight"])
        self._mixed = 2 * sizes[4] > sum(sizes.values())

    def kept(self, name: str) -> bool:
        """Whether the codes in the files of the matrix `name` become those of the graph."""
        bits = self.weights.code_bits(name)
        return bits is not None and bits <= self(name)

    def __call__(self, name: str) -> int:
        """Bits of a code of the matrix `name`."""
        if self._most == 8 or name == HEAD or self._mixed:
            return self.weights.code_bits(name) or 8
        return 4

    @property
    def all_kept(self) -> bool:
        return all(self.kept(name) for name in (*self.weights.products(), HEAD))


class Rounding(Protocol):
    """Gives the codes of matrices that are multiplied with one input; asked in the order of the graph."""

    made: dict[str, str]
    """How the codes of each matrix were made so far: such as "kept, Q4_1" or "fitted, 8 bits"."""

    def __call__(self, *names: str) -> list[Quantised]: ...


class ToNearest:
    """Every matrix for itself: all that it needs is the matrix."""

    def __init__(self, weights: LlamaWeights, precision: str) -> None:
        self.weights, self.bits = weights, Bits(weights, precision)
        self.made: dict[str, str] = {}

    def __call__(self, *names: str) -> list[Quantised]:
        return [self._round(name) for name in names]

    def _round(self, name: str) -> Quantised:
        return _kept(self.weights, self.bits, name, self.made) or self._nearest(name)

    def _nearest(self, name: str) -> Quantised:
        self.made[name] = f"nearest, {self.bits(name)} bits"
        return quantise(self.weights.read(f"{name}.weight"), self.bits(name))


def _kept(weights: LlamaWeights, bits: Bits, name: str, made: dict[str, str]) -> Quantised | None:
    """The codes in the files, where they are to be kept."""
    found = weights.codes(name) if bits.kept(name) else None
    if found is None:
        return None
    made[name] = f"kept, {found.kind}"
    return Quantised.of_codes(found)


class _Reached(Exception):
    """The forward pass has come to the product whose inputs are wanted."""


class Fitted:
    """Fits the codes to the products' inputs while the token sequences `ids`, int64 [n, L], go through the
    layers one by one, in the memory of one layer.
    """

    @torch.no_grad()
    def __init__(self, weights: LlamaWeights, precision: str, ids: Tensor) -> None:
        self.weights, self.bits = weights, Bits(weights, precision)
        self.made: dict[str, str] = {}
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
        elif (index := int(names[0].split(".")[2])) != self.index:  # model.layers.N.…
            self._leave_layer()
            self._enter_layer(index)
        found = {name: _kept(self.weights, self.bits, name, self.made) for name in names}
        if None in found.values():
            products = _second_moment(self._inputs_of(names[0]))
            for name in names:
                if found[name] is None:
                    found[name] = self._fit(name, products)
        return [codes for codes in found.values() if codes is not None]

    def _fit(self, name: str, products: Tensor) -> Quantised:
        self.made[name] = f"fitted, {self.bits(name)} bits"
        if name == HEAD:
            return fit(self.weights.read(f"{HEAD}.weight"), self.bits(HEAD), products)
        module = self.layer.get_submodule(name.split(".", 3)[3])
        codes = fit(module.weight, self.bits(name), products)
        module.weight = nn.Parameter(codes.dequantised(), requires_grad=False)
        return codes

    def _inputs_of(self, name: str) -> list[Tensor]:
        if name != HEAD:
            return self._inputs(self.layer.get_submodule(name.split(".", 3)[3]))
        mean_square = self.x.square().mean(-1, keepdim=True) + self.weights.config.rms_norm_eps
        return [self.x * mean_square.rsqrt() * self.weights.read("model.norm.weight")]

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
