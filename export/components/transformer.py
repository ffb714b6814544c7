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
    config = model.config
    layers = list(model.encoder.layers)
    norms = [layer.layer_norm1 for layer in layers[1:]] + [last_norm]
    n = ops.layer_norm(x, layers[0].layer_norm1)
    for i, (layer, next_norm) in enumerate(zip(layers, norms, strict=True)):
        attention, int8 = layer.self_attn, int8_of_layer(i)
        weight, bias = fused_qkv(attention.q_proj, attention.k_proj, attention.v_proj)
        a = ops.self_attention(n, weight, bias, config.num_attention_heads, causal, int8=int8)
        a = ops.linear(a, attention.out_proj, bias=False, int8=int8)
        n, x = ops.skip_layer_norm(a, x, layer.layer_norm2, attention.out_proj.bias)
        h = ops.linear(n, layer.mlp.fc1, bias=False, int8=int8)
        h = activation(ops, h, config.hidden_act, layer.mlp.fc1.bias)
        h = ops.linear(h, layer.mlp.fc2, bias=False, int8=int8)
        n, x = ops.skip_layer_norm(h, x, next_norm, layer.mlp.fc2.bias)
    return n
