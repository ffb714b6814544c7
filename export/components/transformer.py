"""CLIP-style transformer layers, shared by both encoders and the text encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.errors import ExportError
from g4v.export.graph.lowering import Int8, Lowering

ACTIVATIONS = ("quick_gelu", "gelu", "gelu_pytorch_tanh")


def activation(ops: Lowering, x: str, name: str, bias: Tensor) -> str:
    """act(x + bias) for the activations of CLIP models."""
    if name == "gelu":
        return ops.gelu(x, bias)
    if name == "gelu_pytorch_tanh":
        return ops.tanh_gelu(x, bias)
    if name == "quick_gelu":
        return ops.quick_gelu(ops.g.op("Add", x, ops.g.weight(bias)))
    raise ExportError(f"activation {name!r} is not supported (one of {', '.join(ACTIVATIONS)})")


def fused_qkv(q: nn.Linear, k: nn.Linear, v: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight [d, 3*d] and bias [3*d] of three projections in one product; a missing bias is zero."""
    weights: tuple[Tensor, ...] = (q.weight, k.weight, v.weight)
    biases: list[Tensor] = [torch.zeros_like(m.weight[:, 0]) if m.bias is None else m.bias for m in (q, k, v)]
    return torch.cat(weights).t(), torch.cat(biases)


def int8_of_layer(index: int) -> Int8 | None:
    """How the products of an encoder's layer may be quantised: those of the first one not at all. All other
    layers read what it makes of the pixels: quantised, it alone makes most of the error (of `tiny`: 3.0e-2
    of 3.6e-2).
    """
    return None if index == 0 else Int8.PER_TOKEN


def clip_layers(ops: Lowering, x: str, model: Any, last_norm: nn.LayerNorm, causal: bool) -> str:
    """The layers of a CLIP encoder and the LayerNorm that follows them. x: [B, S, d] -> [B, S, d]."""
    layers = list(model.encoder.layers)
    norms = [layer.layer_norm1 for layer in layers[1:]] + [last_norm]
    n = ops.layer_norm(x, layers[0].layer_norm1)
    for i, (layer, next_norm) in enumerate(zip(layers, norms, strict=True)):
        h, x = _clip_layer(ops, n, x, i, layer, model.config, causal)
        n, x = ops.skip_layer_norm(h, x, next_norm, layer.mlp.fc2.bias)
    return n


def clip_hidden_states(ops: Lowering, x: str, model: Any, last: int) -> list[str]:
    """The hidden states of a CLIP encoder as transformers counts them, [B, S, d] each: x, which its first
    layer reads, and what each of the layers up to number `last` makes.
    """
    layers, states = list(model.encoder.layers), [x]
    if last == 0:
        return states
    n = ops.layer_norm(x, layers[0].layer_norm1)
    for i, layer in enumerate(layers[:last]):
        h, x = _clip_layer(ops, n, x, i, layer, model.config, causal=False)
        if i + 1 < last:
            n, x = ops.skip_layer_norm(h, x, layers[i + 1].layer_norm1, layer.mlp.fc2.bias)
        else:
            x = ops.g.op("Add", ops.g.op("Add", h, ops.g.weight(layer.mlp.fc2.bias)), x)
        states.append(x)
    return states


def _clip_layer(
    ops: Lowering, n: str, x: str, index: int, layer: Any, config: Any, causal: bool
) -> tuple[str, str]:
    """What layer number `index` adds at its end, but for the bias, and what it adds that to.

    n: x after the layer's first norm.
    """
    attention, int8 = layer.self_attn, int8_of_layer(index)
    weight, bias = fused_qkv(attention.q_proj, attention.k_proj, attention.v_proj)
    a = ops.self_attention(n, weight, bias, config.num_attention_heads, causal, int8=int8)
    a = ops.linear(a, attention.out_proj, bias=False, int8=int8)
    n, x = ops.skip_layer_norm(a, x, layer.layer_norm2, attention.out_proj.bias)
    h = ops.linear(n, layer.mlp.fc1, bias=False, int8=int8)
    h = activation(ops, h, config.hidden_act, layer.mlp.fc1.bias)
    return ops.linear(h, layer.mlp.fc2, bias=False, int8=int8), x
