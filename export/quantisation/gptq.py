"""GPTQ: quantises the decoder's matrices so that the results of their products change least.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022
(arXiv 2210.17323). Given inputs that a matrix meets in use, its columns are rounded in turn, and the columns
that are still to come make up for the error. Inputs are taken behind the layers that are already quantised,
so that later layers make up for earlier ones, too.

Codes that a file holds already (most GGUF files do) are not rounded again where the precision has room for
them (g4v.export.quantisation.bit_allocation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.checkpoint.llama import EMBEDDING, HEAD, LlamaWeights
from g4v.export.quantisation.bit_allocation import BitAllocation
from g4v.export.quantisation.codes import BLOCK, Quantised
from g4v.export.quantisation.round_to_nearest import quantise

_DAMPING = 0.01  # of the mean square of the inputs, added to each
_PANEL = 64  # columns that are rounded before the others are told of it


class _Reached(Exception):
    """The forward pass has come to the product whose inputs are wanted."""


class GPTQ:
    """Quantises the matrices of a decoder by GPTQ (a `Quantiser`), with one layer in memory at a time.

    weights: of the decoder.
    precision: "int8" or "int4".
    ids: calibration tokens, int64 [n, L]: n sequences of L tokens, which go through the layers one by one.
    """

    @torch.no_grad()
    def __init__(self, weights: LlamaWeights, precision: str, ids: Tensor) -> None:
        self.weights, self.allocation = weights, BitAllocation(weights, precision)
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
        found = {name: self.allocation.stored_codes(name, self.made) for name in names}
        if None in found.values():
            products = _second_moment(self._inputs_of(names[0]))
            for name in names:
                if found[name] is None:
                    found[name] = self._quantise(name, products)
        return [codes for codes in found.values() if codes is not None]

    def _quantise(self, name: str, products: Tensor) -> Quantised:
        bits = self.allocation.bits(name)
        self.made[name] = f"fitted, {bits} bits"
        if name == HEAD:
            return gptq(self.weights.read(f"{HEAD}.weight"), bits, products)
        module = self.layer.get_submodule(name.split(".", 3)[3])
        codes = gptq(module.weight, bits, products)
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
        """Takes the sequences through the layer, all of whose matrices are quantised by now."""
        if self.layer is not None:
            self.x = torch.cat([self._forward(row[None]) for row in self.x])
            self.layer = None

    def _forward(self, x: Tensor) -> Tensor:
        result = self.layer(x, position_embeddings=self.rotary, attention_mask=self.mask)
        return result[0] if isinstance(result, tuple) else result

    def _inputs(self, module: nn.Module) -> list[Tensor]:
        """The inputs of the linear layer `module`, sequence by sequence."""
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
def gptq(weight: Tensor, bits: int, products: Tensor) -> Quantised:
    """Quantises one matrix by GPTQ; the scales are those of `quantise`.

    weight: floating point, [out, in].
    bits: of a code, 4 or 8.
    products: float64 [in, in], the second moment of the inputs, the mean of x x^T.

    Columns that meet large inputs are rounded first ("act-order" of the authors' code), while there are
    others to make up for them.
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
