"""Layers that the UNet's and the VAE decoder's graphs share. Images are [B, C, H, W]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.errors import ExportError
from g4v.export.graph.lowering import Int8, Lowering


def conv(
    ops: Lowering,
    x: str,
    module: nn.Conv2d,
    bias: bool = True,
    int8: bool = False,
    many_pixels: bool = True,
) -> str:
    """A Conv2d; bias=False leaves its bias to the caller. int8, many_pixels: as in `Lowering.convolution`."""
    given = module.bias if bias else None
    return ops.convolution(x, module.weight, given, **_sizes(module), int8=int8, many_pixels=many_pixels)


def _sizes(module: nn.Conv2d) -> dict[str, Any]:
    return {"strides": module.stride, "pads": [int(side) for side in module.padding] * 2}


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


def norm_silu_conv(
    ops: Lowering,
    x: str,
    norm: nn.GroupNorm,
    module: nn.Conv2d,
    bias: bool = True,
    int8: bool = False,
    many_pixels: bool = True,
) -> str:
    """The Conv2d of silu(norm(x)); arguments as in `conv`."""
    given = module.bias if bias else None
    return norm_silu_convolution(
        ops, x, norm, module.weight, given, **_sizes(module), int8=int8, many_pixels=many_pixels
    )


def norm_silu_convolution(
    ops: Lowering, x: str, norm: nn.GroupNorm, weight: Tensor, bias: Tensor | None, **sizes: Any
) -> str:
    """The convolution of silu(norm(x)); sizes: as in `Lowering.convolution`."""
    fused = ops.norm_silu_convolution(x, norm, weight, bias, **sizes)
    if fused is not None:
        return fused
    return ops.convolution(ops.silu(group_norm(ops, x, norm)), weight, bias, **sizes)


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


def resnet(ops: Lowering, x: str, block: Any, time: str | None = None, many_pixels: bool = True) -> str:
    """A ResnetBlock2D. time: [1, C, 1, 1], the projected time embedding with conv1's bias added. many_pixels:
    as in `Lowering.convolution`.
    """
    g = ops.g
    resamples = block.upsample is not None or block.downsample is not None
    if resamples or block.time_embedding_norm not in ("default", "group"):
        raise ExportError("a resnet block that resamples or scales by time is not supported")
    h = norm_silu_conv(ops, x, block.norm1, block.conv1, time is None, True, many_pixels)
    if time is not None:
        h = g.op("Add", h, time)
    h = norm_silu_conv(ops, h, block.norm2, block.conv2, True, True, many_pixels)
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
    return conv(ops, nearest(ops, x, like), block.conv)


def nearest(ops: Lowering, x: str, like: str | None = None) -> str:
    """Nearest-neighbour doubling of height and width; to those of `like` where it is given."""
    g = ops.g
    mode: dict[str, Any] = {
        "mode": "nearest",
        "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric",
    }
    if like is None:
        return g.op("Resize", x, "", g.weight(torch.tensor([1.0, 1.0, 2.0, 2.0]), float32=True), **mode)
    sizes = g.concat(g.op("Shape", x, start=0, end=2), g.op("Shape", like, start=2, end=4), axis=0)
    return g.op("Resize", x, "", "", sizes, **mode)


def downsample(ops: Lowering, x: str, block: Any) -> str:
    """A strided convolution."""
    if not block.use_conv or block.norm is not None or block.padding == 0:
        raise ExportError("a downsampler without a padded convolution is not supported")
    return conv(ops, x, block.conv)
