"""Graphs whose large products are FP8 (E4M3), and engines that are built of them."""

import json
from importlib.util import find_spec

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from g4v.cli.inspect import describe_report
from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.catalog import components_of
from g4v.export.components.diffusion_layers import conv
from g4v.export.components.precision import PRECISIONS, parse_precisions
from g4v.export.components.profile import DimensionRange
from g4v.export.engines.options import EngineOptions
from g4v.export.engines.tensorrt import ENGINES, build_engine
from g4v.export.errors import ExportError
from g4v.export.graph.dtype import FLOAT16
from g4v.export.graph.standard import StandardLowering
from g4v.export.passes import fp8
from g4v.export.passes.fp8 import MARGIN, quantise_fp8
from g4v.export.quantisation.fp8 import LARGEST, round_weight
from g4v.export.report.component_report import ComponentReport
from g4v.export.report.report import write_report
from g4v.export.verify.comparison import FP8_TOLERANCE
from g4v.export.verify.samples import Samples

HALF = StandardLowering(FLOAT16)
FP8_PARTS = ("encoder", "abstractor", "text_encoder", "unet", "vae_decoder", "vae_encoder")
RTX = ENGINES["tensorrt-rtx"]
needs_tensorrt = pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="needs tensorrt-rtx-cu13")


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    """Products that are not worth it are so here: the run's are small."""
    monkeypatch.setattr(fp8, "_SMALLEST", 1 << 10)


def weight(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / shape[-2] ** 0.5


def output(folder, stem, feed):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(folder / f"{stem}.onnx", options).run(None, feed)[0]


def rounded(values, scale):
    codes = np.clip(values.astype(np.float32) / np.float32(scale), -LARGEST, LARGEST)
    return codes.astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * np.float32(scale)


def test_weights_keep_four_bits_of_mantissa():
    values = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float16)
    values[:, 1] *= np.float16(1e-3)  # a scale for each column
    largest = np.abs(values).max(axis=0).astype(np.float32)
    scales = (largest / LARGEST).astype(np.float16)
    codes = round_weight(values, scales, 1)
    assert codes.dtype == ml_dtypes.float8_e4m3fn and codes.shape == values.shape
    back = codes.astype(np.float32) * scales.astype(np.float32)
    normal = np.abs(codes.astype(np.float32)) >= 2**-6
    exact = values.astype(np.float32)
    assert (
        np.abs(back - exact)[normal] <= 2**-4 * np.abs(exact)[normal] * 1.001
    ).all() and normal.mean() > 0.9
    # A scale that was rounded down makes no code beyond the largest, which would be none.
    assert np.isfinite(round_weight(values, scales * np.float16(0.9), 1).astype(np.float32)).all()


def test_a_product_and_a_convolution(tmp_path):
    """The nodes that TensorRT looks for, codes in the data file, and the arithmetic they stand for."""
    w, k, odd = weight(64, 32), weight(48, 32, 3, 3, seed=1), weight(32, 40, seed=2)
    with HALF.open(tmp_path, "net.x") as ops:
        g = ops.g
        x = g.input("x", "float32", ["rows", 64])
        h = ops.matmul(x, w)
        image = g.reshape(h, 0, 32, 1, 1)
        made = g.op("Conv", image, g.weight(k), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        y = ops.matmul(g.reshape(made, 0, 48), weight(48, 32, seed=3))
        g.output("y", ops.matmul(y, odd), "float32", ["rows", 40])
        g.save()
    before = (tmp_path / "net.x.data").stat().st_size
    x = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    half = output(tmp_path, "net.x", {"x": x})
    made = quantise_fp8(tmp_path / "net.x.onnx", [{"x": x}])
    assert sorted(made.values()) == ["fp8"] * 3  # 40 columns are no multiple of 16
    assert (tmp_path / "net.x.data").stat().st_size < 0.7 * before
    graph = onnx.load(tmp_path / "net.x.onnx", load_external_data=False).graph
    types = {tensor.name: tensor for tensor in graph.initializer}
    sources = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type not in ("MatMul", "Conv") or types.get(node.input[1]):
            continue
        quantised, codes = (sources[name] for name in node.input[:2])
        assert (quantised.op_type, codes.op_type) == ("DequantizeLinear", "DequantizeLinear")
        assert sources[quantised.input[0]].op_type == "QuantizeLinear"
        stored = types[codes.input[0]]
        assert stored.data_type == TensorProto.FLOAT8E4M3FN and len(codes.input) == 2
        assert types[codes.input[1]].dims[0] == stored.dims[0 if node.op_type == "Conv" else 1]
    found = output(tmp_path, "net.x", {"x": x})
    assert 5e-3 < np.linalg.norm(found - half) / np.linalg.norm(half) < 8e-2
    # The first product by hand.
    model = onnx.load(tmp_path / "net.x.onnx", load_external_data=False)
    first = next(node for node in model.graph.node if node.op_type == "MatMul")
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(first.output[0], TensorProto.FLOAT16, None))
    (tmp_path / "first.onnx").write_bytes(model.SerializeToString())
    product = output(tmp_path, "first", {"x": x})
    short = x.astype(np.float16)
    scale = np.float16(np.abs(short).max() * MARGIN / LARGEST)
    columns = (np.abs(w.numpy().astype(np.float16)).max(axis=0).astype(np.float32) / LARGEST).astype(
        np.float16
    )
    wanted = rounded(short, scale) @ rounded(w.numpy().astype(np.float16), columns)
    np.testing.assert_allclose(product, wanted, rtol=5e-3, atol=2e-2)


def test_larger_inputs_than_the_samples_are_not_cut_off(tmp_path):
    with HALF.open(tmp_path, "net.x") as ops:
        g = ops.g
        g.output("y", ops.matmul(g.input("x", "float32", [1, 64]), torch.eye(64)), "float32", [1, 64])
        g.save()
    sample = np.linspace(-1, 1, 64, dtype=np.float32)[None]
    quantise_fp8(tmp_path / "net.x.onnx", [{"x": sample}])
    for factor, most in ((1.9, 0.07), (4.0, 0.6)):
        error = np.abs(output(tmp_path, "net.x", {"x": factor * sample}) - factor * sample).max() / factor
        assert error < most
    assert error > 0.4  # but those are


def ill_conditioned(folder, alone=False):
    """A sum of a product that is hard to round, since what is large of it is taken away again, and, unless
    it stands alone, of one that is not.
    """
    hard, easy = weight(64, 64), weight(64, 64, seed=1)
    with HALF.open(folder, "net.x") as ops:
        g = ops.g
        x = g.input("x", "float32", ["rows", 64])
        y = g.op("Mul", ops.matmul(x, hard, -hard.half().float().sum(dim=0)), g.weight(torch.tensor(20.0)))
        if not alone:
            y = g.op("Add", y, ops.matmul(x, easy))
        g.output("y", y, "float32", ["rows", 64])
        g.save()
    noise = np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32)
    return [{"x": 1 + 0.05 * noise}]


def test_what_changes_the_result_most_stays_float16(tmp_path):
    feeds = ill_conditioned(tmp_path)
    half = output(tmp_path, "net.x", feeds[0])
    made = quantise_fp8(tmp_path / "net.x.onnx", feeds)
    assert list(made.values()) == ["fp16", "fp8"]
    found = output(tmp_path, "net.x", feeds[0])
    assert np.linalg.norm(found - half) / np.linalg.norm(half) < FP8_TOLERANCE
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.x.data", "net.x.onnx"]


def test_what_cannot_be_within_the_tolerance_is_refused(tmp_path):
    feeds = ill_conditioned(tmp_path, alone=True)
    with pytest.raises(ExportError, match="net.x: no product can be FP8 .* within 1e-01; use fp16"):
        quantise_fp8(tmp_path / "net.x.onnx", feeds)
    with pytest.raises(ExportError, match="net.x: fp8 needs inputs"):
        quantise_fp8(tmp_path / "net.x.onnx", [])


def test_fp8_is_for_engines_on_gpus_that_have_it(run, tmp_path, capsys):
    assert all("fp8" not in names for t in ("cpu", "cuda") for names in PRECISIONS[t].values())
    with pytest.raises(ExportError, match="'fp8' is not supported .*; --target tensorrt-rtx can"):
        parse_precisions("fp8", ["cuda"])
    found = parse_precisions("fp8", ["cpu", "tensorrt-rtx"])
    assert {n for n, v in found.items() if "fp8" in v.values()} == {"encoder", "unet", "transformer"}
    assert parse_precisions("abstractor=fp8", ["tensorrt"])["abstractor"] == {"tensorrt": "fp8"}
    words = ["--checkpoint", str(run), "--out", str(tmp_path / "out"), "--target", "tensorrt-rtx"]
    old = ["--compute-capability", "8.9", "--compute-capability", "8.6"]
    for extra in ([], ["--dry-run"]):
        assert main([*words, "--precision", "fp8", *old, *extra]) == 1
        assert "encoder in fp8 needs GPUs of compute capability 8.9 or later" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_components_hold_their_error(run, tmp_path):
    checkpoint = Checkpoint.open(run)
    samples = Samples(checkpoint)
    words = [f"{name}=fp8" for name in FP8_PARTS]
    for part in components_of(checkpoint, parse_precisions(words, ["tensorrt-rtx"])):
        if "tensorrt-rtx" not in part.variants:
            continue
        module, feeds = part.load(), samples.feeds(part.name)
        part.write(module, tmp_path, "tensorrt-rtx")
        part.measure(tmp_path, "tensorrt-rtx", feeds)
        made = part.codes("tensorrt-rtx")
        assert set(made.values()) <= {"fp8", "fp16"} and "fp8" in made.values()
        found = part.compare(module, tmp_path, "tensorrt-rtx", feeds)
        assert 1e-3 < found.exact < FP8_TOLERANCE and found.real == found.exact


@pytest.mark.slow
@needs_tensorrt
def test_engines_are_built(run, tmp_path):
    out = tmp_path / "out"
    only = ["encoder", "abstractor", "unet"]
    export_bundle(run, out, precision="fp8", targets=["tensorrt-rtx"], only=only)
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    precisions = {n: part["variants"][0]["precision"] for n, part in manifest["components"].items()}
    assert precisions == {"encoder": "fp8", "abstractor": "fp16", "unet": "fp8"}
    provenance = manifest["provenance"]
    for name, where in (("encoder", b"89,120+"), ("abstractor", b"86,89,120+"), ("unet", b"89,120+")):
        (node,) = onnx.load(out / f"{name}.tensorrt-rtx.onnx").graph.node
        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert values["hardware_architecture"] == where
        assert ("fp8" in provenance["codes"].get(name, {})) == (name != "abstractor")
        assert provenance["samples"][name]["inputs"]  # what the scales were found on


@pytest.mark.slow
@needs_tensorrt
@pytest.mark.parametrize("kind", ["matmul", "conv"])
def test_engines_hold_the_codes(tmp_path, kind):
    """Half of the bytes: TensorRT has taken them as 8-bit numbers. Other GPUs have none, and it says so."""
    sizes = {}
    for precision in ("fp16", "fp8"):
        folder = tmp_path / precision
        folder.mkdir()
        shape = ["n", 1024] if kind == "matmul" else ["n", 256, 8, 8]
        with HALF.open(folder, "net.x") as ops, torch.no_grad():
            g = ops.g
            x = g.input("x", "float32", shape)
            for seed in range(4):
                x = ops.silu(
                    ops.matmul(x, weight(1024, 1024, seed=seed))
                    if kind == "matmul"
                    else conv(ops, x, torch.nn.Conv2d(256, 256, 3, padding=1))
                )
            g.output("y", x, "float32", shape)
            g.save()
        if precision == "fp8":
            sample = np.random.default_rng(0).normal(size=[4, *shape[1:]]).astype(np.float32)
            assert set(quantise_fp8(folder / "net.x.onnx", [{"x": sample}]).values()) == {"fp8"}
            with pytest.raises(ExportError, match="cannot build the engine: .*sm86.*fp8"):
                build_engine(
                    folder, "net.x", {"n": DimensionRange(1, 4, 8)}, RTX, EngineOptions.parse(["8.6"])
                )
        build_engine(folder, "net.x", {"n": DimensionRange(1, 4, 8)}, RTX)
        sizes[precision] = (folder / "net.x.engine").stat().st_size
    assert sizes["fp8"] < 0.65 * sizes["fp16"]


def test_reports_have_no_error_on_random_inputs(tmp_path):
    part = ComponentReport(
        "unet", "fp8", 10, 10, 7e-2, None, 1.0, None, target="tensorrt-rtx", real_error=7e-2
    )
    write_report(tmp_path, "net", [part])
    assert "\n".join(describe_report(tmp_path)).count("7.0e-02") == 1
    assert (tmp_path / "report.html").read_text("utf-8").count("7.0e-02") == 1
