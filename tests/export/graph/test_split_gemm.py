"""Split GEMM: products of float32 as three bfloat16 pieces or two. Close to PyTorch, with g4v's operator and
without, and what they are asked for by.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

import g4v
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.abstractor import export_abstractor
from g4v.export.components.encoder import export_encoder, sample_pixels
from g4v.export.components.lowerings import BF16X2, BF16X3, lowering_for
from g4v.export.components.precision import parse_precisions
from g4v.export.errors import ExportError
from g4v.export.graph import cpu
from g4v.export.graph.cpu import CPU
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.dtype import FLOAT32
from g4v.export.graph.operators import MICROSOFT, OWN, SPLIT_GEMM
from g4v.export.verify.comparison import verify_abstractor, verify_encoder
from g4v.export.verify.error_measures import relative_error
from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig
from g4v.model.presets import PRESETS

TINY = Path(__file__).parents[3] / "python" / "g4v" / "checkpoints" / "tiny"


@pytest.fixture(autouse=True)
def all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "SMALLEST_SPLIT", 0)


def products(path: Path) -> list[tuple[str, int]]:
    """Operators that multiply by constants, and their pieces."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [
        (node.domain, next((a.i for a in node.attribute if a.name == "pieces"), 0))
        for node in graph.node
        if node.op_type in (SPLIT_GEMM, "Attention") and constants & set(node.input)
    ]


@pytest.mark.parametrize("flavour", ["clip", pytest.param("mplug-owl-video", marks=pytest.mark.slow)])
def test_all_products_of_an_encoder_are_split(tmp_path: Path, flavour: str) -> None:
    run = write_random_checkpoint(tmp_path / "run", PRESETS["tiny"], flavour=flavour)
    encoder = Checkpoint.open(run).encoder()
    for lowering, pieces, most in ((BF16X3, 3, 1e-5), (BF16X2, 2, 1e-4)):
        stem = f"bf16x{pieces}"
        export_encoder(encoder.float(), tmp_path, stem, lowering)
        assert verify_encoder(encoder, tmp_path, 4, stem) < most
        found = products(tmp_path / f"{stem}.onnx")
        assert len(found) >= 12 and set(found) == {(OWN, pieces)}


def test_an_encoder_is_the_same_without_the_operator(tmp_path: Path) -> None:
    """As on a processor without AMX: ONNX Runtime puts its own product there."""
    run = write_random_checkpoint(tmp_path / "run", PRESETS["tiny"])
    encoder = Checkpoint.open(run).encoder().float()
    export_encoder(encoder, tmp_path, lowering=BF16X3)
    pixels = sample_pixels(encoder, 2, seed=1)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(pixels))
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"pixel_values": pixels})
    assert relative_error(found, expected) < 1e-5


def test_an_abstractor_has_three_pieces_or_two(tmp_path: Path) -> None:
    torch.manual_seed(3)
    abstractor = VideoAbstractor(AbstractorConfig(64, 3, 2, 96, 7, 7, 64, 36)).eval()
    for lowering, pieces, most in ((CPU, 3, 1e-5), (BF16X2, 2, 1e-4)):
        stem = f"bf16x{pieces}"
        export_abstractor(abstractor.float(), tmp_path, stem, lowering)
        assert verify_abstractor(abstractor, tmp_path, 8, 10, stem) < most
        for file in (f"{stem}.onnx", f"{stem}_memory.onnx"):
            assert set(products(tmp_path / file)) == {(OWN, pieces)}


def test_queries_keys_and_values_of_small_matrices_stay_in_one_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "SMALLEST_SPLIT", 1024)
    for width, made_by in ((16, [(MICROSOFT, 0)]), (32, [(OWN, 3)] * 3)):
        with BF16X3.open(tmp_path, f"width{width}") as ops:
            g = ops.g
            x = g.input("x", "float32", ["b", "s", width])
            made = ops.self_attention(x, torch.ones(width, 3 * width), torch.zeros(3 * width), 2)
            g.output("out", made, "float32", ["b", "s", width])
            g.save()
        assert products(tmp_path / f"width{width}.onnx") == made_by


def test_a_float32_encoder_for_the_cpu_is_split() -> None:
    assert lowering_for("encoder", "cpu", "fp32") == BF16X3
    assert lowering_for("encoder", "cuda", "fp32") == CudaLowering(FLOAT32)  # which knows no split GEMM


def test_small_matrices_stay_onnx_runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "SMALLEST_SPLIT", 1024)
    with BF16X2.open(tmp_path, "sizes") as ops:
        g = ops.g
        x = g.input("x", "float32", ["b", "q", 32])
        for width in (31, 32):
            g.output(f"out{width}", ops.matmul(x, torch.ones(32, width)), "float32", ["b", "q", width])
        g.save()
    assert products(tmp_path / "sizes.onnx") == [("", 0), (OWN, 2)]


def test_they_are_for_encoder_and_abstractor_on_the_cpu() -> None:
    found = parse_precisions("bf16x2", ("cpu", "cuda"))
    assert {c for c, targets in found.items() if targets["cpu"] == "bf16x2"} == {"encoder", "abstractor"}
    assert found["encoder"]["cuda"] == "fp16"
    with pytest.raises(ExportError, match="unet cannot be written in 'bf16x2' for cpu"):
        parse_precisions("unet=bf16x2")
    with pytest.raises(ExportError, match="--target cpu can"):
        parse_precisions("encoder=bf16x2", ("tensorrt-rtx",))


@pytest.mark.slow
def test_a_bundle_with_them_answers(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    export_bundle(TINY, out, precision="bf16x2")
    components = json.loads((out / "g4v.json").read_text())["components"]
    assert {c: components[c]["variants"][0]["precision"] for c in ("encoder", "abstractor", "unet")} == {
        "encoder": "bf16x2",
        "abstractor": "bf16x2",
        "unet": "fp32",
    }
    video = torch.zeros(8, 64, 64, 3, dtype=torch.uint8)
    video[:, 20:40, 20:40, 0] = 255
    said = [
        g4v.load(bundle, device="cpu").chat(seed=0).ask("What is in this video?", video=video.numpy()).text
        for bundle in ("tiny", str(out))
    ]
    assert said[0] == said[1] and "red" in said[1]
