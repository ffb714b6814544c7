"""Layers that the UNet's and the VAE decoder's graphs share. Images are [B, C, H, W]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.errors import ExportError
from g4v.export.graph.lowering import Int8, Lowering


def conv(ops: Lowering, x: str, module: nn.Conv2d, bias: bool = True, int8: bool = False) -> str:
    """A Conv2d; bias=False leaves its bias to the caller. int8: it may be quantised."""
    given, pads = module.bias if bias else None, [int(side) for side in module.padding] * 2
    return ops.convolution(x, module.weight, given, strides=module.stride, pads=pads, int8=int8)


def group_norm(ops: Lowering, x: str, module: nn.GroupNorm, affine: bool = True) -> str:
    """GroupNorm over all axes after the channels of x [B, C, ...]; affine=False leaves scale and shift to the
    caller.

    A group is one long channel of an InstanceNormalization.
    """
    g, groups = ops.g, module.num_groups
    ones, zeros = torch.ones(groups), torch.zeros(groups)
    y = g.reshape(x, 0, groups, -1)
    y = ops.norm("InstanceNormalization", y, ones, zeros, epsilon=module.eps)
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


def channel_matmul(ops: Lowering, x: str, module: nn.Linear | nn.Conv2d) -> str:
    """A Linear, or the product over channels that a 1x1 convolution is, on x [B, S, C]."""
    return ops.matmul(x, module.weight.flatten(1).t(), module.bias, int8=Int8.PER_TOKEN)


def resnet(ops: Lowering, x: str, block: Any, time: str | None = None) -> str:
    """A ResnetBlock2D. time: [1, C, 1, 1], the projected time embedding with conv1's bias added."""
    g = ops.g
    resamples = block.upsample is not None or block.downsample is not None
    if resamples or block.time_embedding_norm not in ("default", "group"):
        raise ExportError("a resnet block that resamples or scales by time is not supported")
    h = ops.silu(group_norm(ops, x, block.norm1))
    h = conv(ops, h, block.conv1, bias=time is None, int8=True)
    if time is not None:
        h = g.op("Add", h, time)
    h = conv(ops, ops.silu(group_norm(ops, h, block.norm2)), block.conv2, int8=True)
    if block.conv_shortcut is not None:
        x = conv(ops, x, block.conv_shortcut)
    h = g.op("Add", x, h)
    if block.output_scale_factor != 1.0:
        h = g.op("Div", h, g.weight(torch.tensor(block.output_scale_factor)))
    return h


def upsample(ops: Lowering, x: str, block: Any, like: str | None = None) -> str:
    """Nearest-neighbour doubling and a convolution; to the height and width of `like` where it is given."""
    if not block.use_conv or block.norm is not None:
        raise ExportError("an upsampler without convolution is not supported")
    g = ops.g
    mode: dict[str, Any] = {
        "mode": "nearest",
        "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric",
    }
    if like is None:
        x = g.op("Resize", x, "", g.weight(torch.tensor([1.0, 1.0, 2.0, 2.0]), float32=True), **mode)
    else:
        sizes = g.concat(g.op("Shape", x, start=0, end=2), g.op("Shape", like, start=2, end=4), axis=0)
        x = g.op("Resize", x, "", "", sizes, **mode)
    return conv(ops, x, block.conv)


def downsample(ops: Lowering, x: str, block: Any) -> str:
    """A strided convolution."""
    if not block.use_conv or block.norm is not None or block.padding == 0:
        raise ExportError("a downsampler without a padded convolution is not supported")
    return conv(ops, x, block.conv)
