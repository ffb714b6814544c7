"""The inputs that the decoder's products get from calibration tokens, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.checkpoint.llama import EMBEDDING, HEAD, LlamaWeights

_VALUES = 1 << 22  # of the widest inputs that are computed at once, so that they stay near the processor


class LayerInputs:
    """Takes calibration tokens through a decoder, once, with one layer in memory at a time.

    weights: of the decoder.
    ids: int64 [n, L], n sequences of L tokens.

    Every product must be asked for, in the order of the graph (`of`). What it makes of its inputs is computed
    when the next one is asked for, with the weights that it has by then (`put`).
    """

    @torch.no_grad()
    def __init__(self, weights: LlamaWeights, ids: Tensor) -> None:
        self._weights = weights
        self._config = copy(weights.config)
        self._config._attn_implementation = "sdpa"
        self._x = weights.read(f"{EMBEDDING}.weight")[ids]  # the residual stream, [n, L, d]
        self._inputs = self._x
        frequencies, scaling = weights.rotary_frequencies()
        angles = torch.arange(ids.shape[1])[:, None] * frequencies
        angles = torch.cat([angles, angles], -1)[None]
        self._rotary = angles.cos() * scaling, angles.sin() * scaling
        self._mask = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)[None, None]
        self._together = max(1, _VALUES // (ids.shape[1] * self._config.intermediate_size))
        self._layer: Any = None
        self._products: dict[str, nn.Module] = {}  # of the layer, by names such as "mlp.up_proj"

    @torch.no_grad()
    def of(self, name: str) -> Tensor:
        """Returns the inputs [n, L, width] of a product, float32.

        name: of its first matrix, such as "model.layers.0.self_attn.q_proj", or of the head.
        """
        if name == HEAD:
            self._leave_layer()
            self._inputs = self._map(self._final_norm, self._x)
            return self._inputs
        _, _, index, part = name.split(".", 3)
        if part == "self_attn.q_proj":
            self._leave_layer()
            self._enter_layer(int(index))
            self._inputs = self._map(self._layer.input_layernorm, self._x)
        elif part == "self_attn.o_proj":
            self._inputs = self._map(self._attention, self._inputs)
        elif part == "mlp.gate_proj":
            self._add("self_attn.o_proj")
            self._inputs = self._map(self._layer.post_attention_layernorm, self._x)
        else:
            self._inputs = self._map(self._layer.mlp, self._inputs)
        return self._inputs

    def matrix(self, name: str) -> Tensor:
        """Returns the weight [out, in] of a matrix of the layer that was asked for last, or of the head."""
        if name == HEAD:
            return self._weights.read(f"{HEAD}.weight")
        return self._products[name.split(".", 3)[3]].weight  # type: ignore[return-value]

    def put(self, name: str, weight: Tensor) -> None:
        """Puts another weight in place of one of the layer that was asked for last, by its matrix's name."""
        self._products[name.split(".", 3)[3]].weight = nn.Parameter(weight, requires_grad=False)

    def _enter_layer(self, index: int) -> None:
        from transformers.models.llama.modeling_llama import LlamaDecoderLayer

        with torch.device("meta"):
            layer: Any = LlamaDecoderLayer(self._config, index)  # type: ignore[no-untyped-call]
        layer.load_state_dict(self._weights.layer(index), assign=True)
        self._layer = layer.eval()
        self._products = {
            name: module for name, module in layer.named_modules() if isinstance(module, nn.Linear)
        }
        # Then attention and MLP return what their last product reads.
        layer.self_attn.o_proj = layer.mlp.down_proj = nn.Identity()

    def _leave_layer(self) -> None:
        if self._layer is not None:
            self._add("mlp.down_proj")
            self._layer = None

    def _add(self, part: str) -> None:
        """Adds what a product makes of the inputs to the residual stream."""
        for x, inputs in zip(*(t.split(self._together) for t in (self._x, self._inputs)), strict=True):
            x += self._products[part](inputs)

    def _map(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Returns function(x), which is computed for a few sequences at a time."""
        return torch.cat([function(part) for part in x.split(self._together)])

    def _attention(self, x: Tensor) -> Tensor:
        found: Tensor = self._layer.self_attn(x, position_embeddings=self._rotary, attention_mask=self._mask)[
            0
        ]
        return found

    def _final_norm(self, x: Tensor) -> Tensor:
        mean_square = x.square().mean(-1, keepdim=True) + self._config.rms_norm_eps
        return x * mean_square.rsqrt() * self._weights.read("model.norm.weight")
