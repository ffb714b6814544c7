"""CLIP-style transformer layers, shared by both encoders and the text encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.errors import ExportError
from g4v.export.graph.writer import Graph

ACTIVATIONS = ("quick_gelu", "gelu")


def activation(g: Graph, x: str, name: str, bias: Tensor) -> str:
    """act(x + bias) for the activations of CLIP models."""
    if name == "gelu":
        return g.gelu(x, bias)
    if name == "quick_gelu":
        return g.quick_gelu(g.op("Add", x, g.weight(bias)))
    raise ExportError(f"activation {name!r} is not supported (one of {', '.join(ACTIVATIONS)})")


def fused_qkv(q: nn.Linear, k: nn.Linear, v: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight [d, 3*d] and bias [3*d] of three projections in one product; a missing bias is zero."""
    weight = torch.cat([m.weight for m in (q, k, v)]).t()
    biases = [torch.zeros_like(m.weight[:, 0]) if m.bias is None else m.bias for m in (q, k, v)]
    return weight, torch.cat(biases)


def rounded_after(g: Graph, layer: int) -> tuple[Callable[..., str], Callable[..., str], Callable[..., str]]:
    """The graph's matmul, linear and self_attention for a layer: from the second one on those that an 8-bit
    graph rounds. All others read what the first one makes of the pixels: rounded, it alone makes most of
    the error (of `tiny`: 3.0e-2 of 3.6e-2).
    """
    if layer == 0:
        return g.matmul, g.linear, g.self_attention
    return g.rounded_rows, g.rounded_linear, g.rounded_attention


def clip_layers(g: Graph, x: str, model: Any, last_norm: nn.LayerNorm, causal: bool) -> str:
    """The layers of a CLIP encoder and the LayerNorm that follows them. x: [B, S, d] -> [B, S, d]."""
    config = model.config
    layers = list(model.encoder.layers)
    norms = [layer.layer_norm1 for layer in layers[1:]] + [last_norm]
    n = g.layer_norm(x, layers[0].layer_norm1)
    for i, (layer, next_norm) in enumerate(zip(layers, norms, strict=True)):
        _, linear, self_attention = rounded_after(g, i)
        attention = layer.self_attn
        weight, bias = fused_qkv(attention.q_proj, attention.k_proj, attention.v_proj)
        a = self_attention(n, weight, bias, config.num_attention_heads, causal)
        a = linear(a, attention.out_proj, bias=False)
        n, x = g.skip_layer_norm(a, x, layer.layer_norm2, attention.out_proj.bias)
        h = activation(g, linear(n, layer.mlp.fc1, bias=False), config.hidden_act, layer.mlp.fc1.bias)
        h = linear(h, layer.mlp.fc2, bias=False)
        n, x = g.skip_layer_norm(h, x, next_norm, layer.mlp.fc2.bias)
    return n
