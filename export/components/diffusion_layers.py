"""Layers that the UNet's and the VAE decoder's graphs share. Images are [B, C, H, W]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.errors import ExportError
from g4v.export.graph.writer import Graph


def conv(g: Graph, x: str, module: nn.Conv2d, bias: bool = True) -> str:
    """A Conv2d; bias=False leaves its bias to the caller."""
    given = module.bias if bias else None
    return g.convolution(x, module.weight, given, module.stride, tuple(module.padding) * 2)


def rounded_conv(g: Graph, x: str, module: nn.Conv2d, bias: bool = True) -> str:
    """The same of strides of 1, which an 8-bit graph may round."""
    given = module.bias if bias else None
    return g.rounded_convolution(x, module.weight, given, tuple(module.padding) * 2)


def group_norm(g: Graph, x: str, module: nn.GroupNorm, affine: bool = True) -> str:
    """GroupNorm over all axes after the channels of x [B, C, ...]; affine=False leaves scale and shift to the
    caller.

    A group is one long channel of an InstanceNormalization.
    """
    groups = module.num_groups
    ones, zeros = torch.ones(groups), torch.zeros(groups)
    y = g.reshape(x, 0, groups, -1)
    y = g.norm("InstanceNormalization", y, ones, zeros, epsilon=module.eps)
    y = g.op("Reshape", y, g.op("Shape", x))
    if not affine:
        return y
    shape = (1, -1, 1, 1)
    y = g.op("Mul", y, g.weight(module.weight.reshape(shape)))
    return g.op("Add", y, g.weight(module.bias.reshape(shape)))


def fold_group_norm(norm: nn.GroupNorm, linear: nn.Linear | nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight [in, out] and bias [out] of the product that applies the norm's scale and shift before `linear`.

    A 1x1 convolution counts as the product over channels that it is.
    """
    weight = linear.weight.flatten(1).double()
    bias = weight @ norm.bias.double()
    if linear.bias is not None:
        bias = bias + linear.bias.double()
    return (weight * norm.weight.double()).t(), bias


def resnet(g: Graph, x: str, block: Any, time: str | None = None) -> str:
    """A ResnetBlock2D. time: [1, C, 1, 1], the projected time embedding with conv1's bias added."""
    resamples = block.upsample is not None or block.downsample is not None
    if resamples or block.time_embedding_norm not in ("default", "group"):
        raise ExportError("a resnet block that resamples or scales by time is not supported")
    h = g.silu(group_norm(g, x, block.norm1))
    h = rounded_conv(g, h, block.conv1, bias=time is None)
    if time is not None:
        h = g.op("Add", h, time)
    h = rounded_conv(g, g.silu(group_norm(g, h, block.norm2)), block.conv2)
    if block.conv_shortcut is not None:
        x = conv(g, x, block.conv_shortcut)
    h = g.op("Add", x, h)
    if block.output_scale_factor != 1.0:
        h = g.op("Div", h, g.weight(torch.tensor(block.output_scale_factor)))
    return h


def upsample(g: Graph, x: str, block: Any, like: str | None = None) -> str:
    """Nearest-neighbour doubling and a convolution; to the height and width of `like` where it is given."""
    if not block.use_conv or block.norm is not None:
        raise ExportError("an upsampler without convolution is not supported")
    mode: dict[str, Any] = {
        "mode": "nearest",
        "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric",
    }
    if like is None:
        x = g.op("Resize", x, "", g.weight(torch.tensor([1.0, 1.0, 2.0, 2.0]), wide=True), **mode)
    else:
        sizes = g.concat(g.op("Shape", x, start=0, end=2), g.op("Shape", like, start=2, end=4), axis=0)
        x = g.op("Resize", x, "", "", sizes, **mode)
    return conv(g, x, block.conv)


def downsample(g: Graph, x: str, block: Any) -> str:
    """A strided convolution."""
    if not block.use_conv or block.norm is not None or block.padding == 0:
        raise ExportError("a downsampler without a padded convolution is not supported")
    return conv(g, x, block.conv)
