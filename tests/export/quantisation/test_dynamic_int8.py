"""Abstractor, encoder and UNet in dynamic int8."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import g4v
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.abstractor import export_abstractor
from g4v.export.components.encoder import export_encoder
from g4v.export.components.lowerings import INT8
from g4v.export.components.precision import parse_precisions
from g4v.export.errors import ExportError
from g4v.export.graph.lowering import Int8
from g4v.export.plan.export_estimate import estimate_export
from g4v.export.quantisation.dynamic_int8 import quantise_columns
from g4v.export.verify.comparison import (
    INT8_NORM_TOLERANCE,
    INT8_TOLERANCE,
    check,
    verify_abstractor,
    verify_encoder,
)
from g4v.export.verify.error_measures import norm_error, probability_error, relative_error
from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig
from g4v.model.presets import PRESETS
from g4v.shapes.world.render import render
from g4v.shapes.world.world import Object, Scene

TINY = Path(__file__).parents[3] / "python" / "g4v" / "checkpoints" / "tiny"


def test_columns_are_rounded_to_half_a_step() -> None:
    weight = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    weight[:, 3] = 0
    codes, scales = quantise_columns(weight)
    assert codes.dtype == np.int8 and 64 < np.abs(codes).max() <= 127
    assert (np.abs(codes * scales - weight) <= scales / 2 * 1.001).all()


@pytest.mark.parametrize("rows", [1, 3, 4, 50, 1024])
def test_no_two_products_overflow_16_bits(rows: int) -> None:
    weight = np.random.default_rng(rows).standard_normal((rows, 64)).astype(np.float32)
    weight[:, 0] = 1  # the worst column: all of one sign
    codes = np.pad(quantise_columns(weight)[0].astype(int), ((0, -rows % 4), (0, 0))).reshape(-1, 4, 64)
    for i in range(4):
        for j in range(i):
            pair = codes[:, [i, j]]
            assert 255 * np.maximum(pair, 0).sum(1).max() < 2**15
            assert 255 * np.maximum(-pair, 0).sum(1).max() <= 2**15


@pytest.mark.slow
def test_the_abstractor_at_real_sizes_stays_within_its_tolerance(tmp_path: Path) -> None:
    torch.manual_seed(0)
    abstractor = VideoAbstractor(AbstractorConfig(num_layers=2, output_size=256)).eval()
    export_abstractor(abstractor, tmp_path, "rounded", INT8)
    export_abstractor(abstractor, tmp_path, "exact")
    sizes = {
        stem: sum((tmp_path / f"{stem}{part}.data").stat().st_size for part in ("", "_memory"))
        for stem in ("rounded", "exact")
    }
    assert sizes["rounded"] < 0.75 * sizes["exact"]
    error = verify_abstractor(abstractor, tmp_path, 8, 257, "rounded")
    assert 1e-5 < error < INT8_TOLERANCE / 4


def test_what_rounds_activations_is_a_precision_by_name() -> None:
    for component in ("encoder", "abstractor", "text_encoder", "unet"):
        assert parse_precisions(f"{component}=int8")[component] == {"cpu": "int8"}
        assert parse_precisions(f"{component}=int8")["decoder"] == {"cpu": "fp32"}
        assert parse_precisions("int8")[component] == {"cpu": "fp32"}  # only where it is named
        with pytest.raises(ExportError, match=f"{component} cannot .* for cuda .* has no kernel for .*Mat"):
            parse_precisions(f"{component}=int8", ("cuda",))
    with pytest.raises(ExportError, match="vae_decoder cannot be written in 'int8'"):
        parse_precisions("vae_decoder=int8")
    # The CPU can, though other components are written for it anyway.
    with pytest.raises(ExportError, match="for tensorrt-rtx .*; --target cpu can"):
        parse_precisions("encoder=int8", ("tensorrt-rtx",))


def test_an_error_beyond_the_tolerance_is_refused() -> None:
    with pytest.raises(ExportError, match="abstractor: the graph differs from PyTorch by 3.0e-02"):
        check("abstractor", 3e-2, INT8_TOLERANCE)
    with pytest.raises(
        ExportError, match=r"encoder: the graph differs from PyTorch by 1.1e-01 \(at most 1e-01"
    ):
        check("encoder", 1.1e-1, INT8_NORM_TOLERANCE)


def test_an_error_of_nothing_finite_is_no_number() -> None:
    """Wherever among the inputs it stands: `max` would let a NaN pass."""
    nothing = torch.tensor([1.0, float("nan")])
    for error in (relative_error, norm_error, probability_error):
        assert max(0.1, error(np.ones(2), nothing)) == float("inf")
    with pytest.raises(ExportError, match="encoder: what the graph or PyTorch computes is not finite"):
        check("encoder", float("inf"), INT8_NORM_TOLERANCE)


def test_an_encoder_that_does_not_bear_it_is_refused(run: Path, tmp_path: Path) -> None:
    """Keys so large that the attention is all but a choice of one token."""
    from safetensors.torch import load_file, save_file

    sharp = tmp_path / "run"
    shutil.copytree(run, sharp)
    file = sharp / "encoder" / "model.safetensors"
    weights = load_file(file)
    name = "encoder.layers.1.self_attn.query_key_value.weight"
    weights[name] = weights[name] * 60
    save_file(weights, file, {"format": "pt"})
    export_bundle(sharp, tmp_path / "exact", only=["encoder"])
    with pytest.raises(ExportError, match=r"encoder: .* \(at most 1e-01\); --precision encoder=fp32"):
        export_bundle(sharp, tmp_path / "out", precision="encoder=int8", only=["encoder"])
    assert not (tmp_path / "out").exists()


def _product(weight: np.ndarray, x: np.ndarray, folder: Path) -> np.ndarray:
    with INT8.open(folder, "product") as ops:
        g = ops.g
        given = g.input("x", "float32", ["frames", "tokens", len(weight)])
        g.output(
            "y",
            ops.matmul(given, weight, int8=Int8.PER_TOKEN),
            "float32",
            ["frames", "tokens", weight.shape[1]],
        )
        g.save()
    session = onnxruntime.InferenceSession(folder / "product.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_a_token_of_large_values_costs_the_others_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight, x = (rng.standard_normal(s).astype(np.float32) for s in ((96, 40), (3, 5, 96)))
    plain = _product(weight, x, tmp_path)
    assert norm_error(plain, torch.from_numpy(x @ weight)) < 2e-2
    x[1, 2] *= 1e4
    x[0, 0] = 0
    mixed = _product(weight, x, tmp_path)
    others = np.ones((3, 5), bool)
    others[1, 2] = others[0, 0] = False
    np.testing.assert_array_equal(mixed[others], plain[others])
    assert not mixed[0, 0].any()
    np.testing.assert_allclose(mixed[1, 2], plain[1, 2] * 1e4, rtol=1e-5, atol=1)


@pytest.mark.parametrize(("high", "wide", "pads"), [(3, 3, (1, 1, 1, 1)), (3, 1, (1, 0, 1, 0))])
def test_a_convolution_is_a_product_of_neighbours(
    high: int, wide: int, pads: tuple[int, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.rand(2, 6, 5, 7) - 0.2, torch.randn(9, 6, high, wide), torch.randn(9)
    with INT8.open(tmp_path, "conv") as ops:
        g = ops.g
        given = g.input("x", "float32", ["b", 6, "h", "w"])
        g.output(
            "y", ops.convolution(given, weight, bias, pads=pads, int8=True), "float32", ["b", 9, "h", "w"]
        )
        g.save(shapes=True)
    session = onnxruntime.InferenceSession(tmp_path / "conv.onnx", providers=["CPUExecutionProvider"])
    expected = torch.nn.functional.conv2d(x, weight, bias, padding=pads[:2])
    assert 1e-4 < norm_error(session.run(None, {"x": x.numpy()})[0], expected) < 2e-2


@pytest.mark.parametrize("flavour", ["clip", "mplug-owl-video"])
def test_an_encoder_of_either_flavour_stays_within_its_tolerance(flavour: str, tmp_path: Path) -> None:
    run = write_random_checkpoint(tmp_path / "run", PRESETS["tiny"], flavour=flavour)
    encoder = Checkpoint.open(run).encoder()
    export_encoder(encoder, tmp_path, "encoder", INT8)
    assert 1e-4 < verify_encoder(encoder, tmp_path, 4) < INT8_NORM_TOLERANCE


@pytest.fixture(scope="module")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `tiny` with its encoder and UNet in dynamic int8."""
    out = tmp_path_factory.mktemp("rounded") / "bundle"
    export_bundle(TINY, out, precision=["encoder=int8", "unet=int8"])
    return out


@pytest.mark.slow
def test_a_rounded_bundle_answers_and_draws_as_before(rounded: Path) -> None:
    clip = render(Scene((Object("red", "circle", "left"),), "black"), np.random.default_rng(0), 8, 64)
    plain, assistant = g4v.load("tiny", device="cpu"), g4v.load(rounded, device="cpu")
    answer = assistant.chat(seed=0).ask("What moves here?", video=clip).text
    assert "red circle" in answer and "left" in answer
    text = "a red circle moving left on a black background"
    a, b = (each.generate(text, seed=3).frames.astype(int) for each in (plain, assistant))
    assert 0 < np.abs(a - b).mean() < 1


@pytest.mark.slow
def test_the_manifest_says_so_and_the_plan_knows_the_sizes(rounded: Path) -> None:
    manifest = json.loads((rounded / "g4v.json").read_text("utf-8"))
    precisions = parse_precisions(["encoder=int8", "unet=int8", "abstractor=int8"])
    needs = {need.name: need for need in estimate_export(Checkpoint.open(TINY), precisions)}
    plain = {need.name: need for need in estimate_export(Checkpoint.open(TINY), parse_precisions("fp32"))}
    for name in ("encoder", "unet"):
        (variant,) = manifest["components"][name]["variants"]
        assert variant["precision"] == "int8"
        size = manifest["files"][f"{name}.data"]["bytes"]
        assert 0.95 * size < needs[name].disk < 1.1 * size < 0.7 * plain[name].disk
    assert needs["abstractor"].disk < plain["abstractor"].disk


@pytest.mark.slow
def test_the_same_export_twice_gives_the_same_files(rounded: Path, tmp_path: Path) -> None:
    export_bundle(TINY, tmp_path / "again", precision=["encoder=int8", "unet=int8"])
    first, second = (json.loads((p / "g4v.json").read_text())["files"] for p in (rounded, tmp_path / "again"))
    assert first == second
