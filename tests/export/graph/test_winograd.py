"""Convolutions by g4v's own operators: which they are, and that they give what PyTorch gives, with and
without them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from g4v.export.components.diffusion_layers import conv, norm_silu_conv
from g4v.export.components.lowerings import INT8
from g4v.export.components.vae import export_vae_decoder, export_vae_encoder
from g4v.export.graph.cpu import CPU
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.dtype import FLOAT32
from g4v.export.graph.lowering import Lowering
from g4v.export.graph.standard import StandardLowering
from g4v.ops import custom_ops_library

OURS, FUSED = "WinogradConv", "NormSiluWinogradConv"


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


def run(path: Path, feeds: dict[str, np.ndarray], own: bool) -> np.ndarray:
    """own: with g4v's operators; else as on a processor without vectors, by what stands in for them."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if own:
        options.register_custom_ops_library(custom_ops_library())
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, feeds)[0]
    return found


def error(found: np.ndarray, expected: torch.Tensor) -> float:
    exact = expected.detach().numpy()
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def write(
    folder: Path, module: nn.Conv2d, norm: nn.GroupNorm | None = None, lowering: Lowering = CPU
) -> Path:
    """A graph of one convolution."""
    with lowering.open(folder, "convolution") as ops:
        g = ops.g
        x = g.input("x", "float32", ["b", module.in_channels, "h", "w"])
        made = conv(ops, x, module) if norm is None else norm_silu_conv(ops, x, norm, module)
        g.output("out", made, "float32", ["b", module.out_channels, "h2", "w2"])
        g.save(shapes=True)
    return folder / "convolution.onnx"


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [0, 8])
@pytest.mark.parametrize("width", [3, 1])
def test_it_is_pytorchs(own: bool, bias: bool, groups: int, width: int, tmp_path: Path) -> None:
    torch.manual_seed(5)
    module = nn.Conv2d(40, 56, (3, width), padding=(1, width // 2), bias=bias)
    norm = nn.GroupNorm(groups, 40, eps=1e-4) if groups else None
    if norm is not None:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    path = write(tmp_path, module, norm)
    assert operators(path)[FUSED if groups else OURS] == 1
    for shape in ((1, 40, 9, 21), (3, 40, 2, 1), (2, 40, 16, 64)):
        x = torch.randn(shape) * 3 + 1
        exact = x.double()
        if norm is not None:
            exact = nn.functional.silu(norm.double()(exact))
        expected = module.double()(exact)
        assert error(run(path, {"x": x.numpy()}, own), expected) < 1e-5
        module.float()


@pytest.mark.parametrize(
    "options",
    [
        {"in_channels": 4},  # few filters
        {"in_channels": 2048, "out_channels": 256},  # many
        {"stride": 2},
        {"padding": 0},
        {"kernel_size": 5, "padding": 2},
        {"kernel_size": (3, 1), "padding": (1, 1)},
        {"kernel_size": (1, 3), "padding": (0, 1)},
        {"padding": (1, 0)},
    ],
    ids=str,
)
def test_others_are_onnx_runtimes(options: dict[str, Any], tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"in_channels": 64, "out_channels": 32, "kernel_size": 3, "padding": 1} | options
    path = write(tmp_path, nn.Conv2d(**sizes))
    assert operators(path)["Conv"] == 1 and operators(path)[OURS] == 0


def test_of_one_pixel_it_is_a_product(tmp_path: Path) -> None:
    module = nn.Conv2d(24, 40, 1)
    path = write(tmp_path, module)
    assert operators(path)["MatMul"] == 1 and operators(path)["Conv"] == 0
    x = torch.randn(2, 24, 5, 7)
    assert error(run(path, {"x": x.numpy()}, own=False), module.double()(x.double())) < 1e-6


@pytest.mark.parametrize(
    "lowering", [StandardLowering(FLOAT32), CudaLowering(FLOAT32)], ids=["standard", "cuda"]
)
def test_other_targets_have_their_own(lowering: Lowering, tmp_path: Path) -> None:
    path = write(tmp_path, nn.Conv2d(64, 64, 3, padding=1), nn.GroupNorm(8, 64), lowering)
    assert operators(path)["Conv"] == 1 and not operators(path)[OURS] + operators(path)[FUSED]


def a_vae() -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(6)
    down, up = ("DownEncoderBlock2D",) * 3, ("UpDecoderBlock2D",) * 3
    return AutoencoderKL(3, 3, down, up, (32, 64, 64), 1, latent_channels=4, norm_num_groups=8).eval()


@pytest.mark.parametrize("own", [True, False])
def test_a_vae_is_diffusers(own: bool, tmp_path: Path) -> None:
    vae = a_vae()
    export_vae_decoder(vae, tmp_path)
    export_vae_encoder(vae, tmp_path)
    decoder, encoder = (tmp_path / f"vae_{half}.onnx" for half in ("decoder", "encoder"))
    assert (
        operators(decoder)[FUSED] == 8 and operators(decoder)[OURS] == 3
    )  # 4 blocks; 2 upsamplers and the first
    latents, images = torch.randn(2, 4, 5, 9), torch.rand(2, 3, 20, 28) * 2 - 1
    with torch.no_grad():
        vae = vae.double()
        frames = vae.decode(latents.double()).sample.clamp(-1, 1)
        moments = vae.encode(images.double()).latent_dist.parameters
    assert error(run(decoder, {"latents": latents.numpy()}, own), frames) < 1e-4
    assert error(run(encoder, {"images": images.numpy()}, own), moments) < 1e-4


def test_int8_quantises_what_it_may(tmp_path: Path) -> None:
    export_vae_decoder(a_vae(), tmp_path, lowering=INT8)
    found = operators(tmp_path / "vae_decoder.onnx")
    assert found[FUSED] == 0 and found[OURS] == 3  # those outside of blocks
