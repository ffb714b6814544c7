"""Graphs of connectors that make tokens of each frame: features [T, N, d] -> video_tokens [T*Q, D]."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from g4v.export.components.transformer import activation
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Int8, Lowering
from g4v.model.connector import MlpConnector, PixelShuffle


def export_pixel_shuffle(
    connector: PixelShuffle, folder: str | Path, stem: str = "abstractor", lowering: Lowering = CPU
) -> list[str]:
    """Writes the graph of a pixel shuffle and its data into `folder`; returns their names."""
    config = connector.config
    width, scale = config.hidden_size, config.scale_factor
    side = int(config.tokens_per_frame**0.5) // scale
    with lowering.open(folder, stem) as ops:
        g = ops.g
        features = g.input("features", "float32", ["frames", config.tokens_per_frame, width])
        # Rows of squares, rows of a square, and the patches of such a row, which lie side by side already.
        x = g.reshape(features, -1, scale, side, scale * width)
        x = g.reshape(g.transpose(x, 0, 2, 1, 3), -1, scale * scale * width)
        tokens = ops.matmul(x, connector.proj.weight.t(), int8=Int8.PER_TENSOR, many_rows=True)
        g.output("video_tokens", tokens, "float32", ["tokens", config.output_size])
        g.save()
        return g.files


def export_mlp(
    connector: MlpConnector, folder: str | Path, stem: str = "abstractor", lowering: Lowering = CPU
) -> list[str]:
    """Writes the graph of an MLP connector and its data into `folder`; returns their names."""
    config = connector.config
    with lowering.open(folder, stem) as ops, torch.no_grad():
        g = ops.g
        features = g.input("features", "float32", ["frames", config.tokens_per_frame, config.hidden_size])
        x = g.reshape(_pooled(ops, features, connector), -1, config.hidden_size)
        h = _product(ops, x, connector.linear_1)
        h = activation(ops, h, config.activation, _bias(connector.linear_1))
        y = _product(ops, h, connector.linear_2)
        if config.bias:
            y = g.op("Add", y, g.weight(connector.linear_2.bias))
        g.output("video_tokens", y, "float32", ["tokens", config.output_size])
        g.save()
        return g.files


def _pooled(ops: Lowering, features: str, connector: MlpConnector) -> str:
    """[T, N, d] -> [T, Q, d]."""
    g, config = ops.g, connector.config
    if config.pooling is None:
        return features
    x = g.transpose(features, 0, 2, 1)
    x = g.reshape(x, 0, config.hidden_size, config.side, config.side)
    sizes = [config.stride, config.stride]
    if config.pooling == "conv":
        x = ops.convolution(x, connector.pool.weight, connector.pool.bias, strides=sizes)
    else:
        kind = "AveragePool" if config.pooling == "average" else "MaxPool"
        x = g.op(kind, x, kernel_shape=sizes, strides=sizes)
    return g.transpose(g.reshape(x, 0, config.hidden_size, -1), 0, 2, 1)


def _product(ops: Lowering, x: str, layer: nn.Linear) -> str:
    return ops.matmul(x, layer.weight.t(), int8=Int8.PER_TOKEN, many_rows=True)


def _bias(layer: nn.Linear) -> torch.Tensor:
    """A missing bias is zero."""
    return torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias
