"""Graphs in bfloat16: their kernels on CUDA, their numbers on the CPU, and engines that are built of them."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.manifest import file_entry
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.catalog import components_of
from g4v.export.components.precision import PRECISIONS, parse_precisions
from g4v.export.errors import ExportError
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.cuda_kernels import check_kernels
from g4v.export.graph.dtype import BFLOAT16
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.verify.half_precision import emulated

CUDA = ("encoder", "abstractor", "text_encoder", "frame_checker")
ENGINES = ("encoder", "abstractor", "text_encoder", "unet", "vae_decoder")


@pytest.fixture(scope="module")
def cuda(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bfloat") / "cuda"
    export_bundle(run, out, precision="bf16", targets=["cuda"], only=[*CUDA, "unet"])
    return out


def weights(path):
    """Types of the large weights, and of all inputs and outputs."""
    graph = onnx.load(path, load_external_data=False).graph
    inner = {t.data_type for t in graph.initializer if t.data_location == TensorProto.EXTERNAL}
    outer = {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}
    return inner, outer


@pytest.mark.slow
def test_the_cuda_provider_has_kernels_for_every_node(cuda, run):
    manifest = json.loads((cuda / "g4v.json").read_text("utf-8"))
    for name in CUDA:
        (variant,) = manifest["components"][name]["variants"]
        assert variant["precision"] == "bf16"
        check_kernels(OnnxFile(cuda / variant["graph"]))
        inner, outer = weights(cuda / variant["graph"])
        assert TensorProto.BFLOAT16 in inner and TensorProto.FLOAT16 not in inner
        assert outer <= {TensorProto.FLOAT, TensorProto.INT64}
    # What has no bfloat16 kernels stays in its default, as other precisions do.
    assert manifest["components"]["unet"]["variants"][0]["precision"] == "fp16"
    errors = verify_bundle(run, cuda)
    # bfloat16 it is, and no more than that.
    assert all(5e-4 < errors[f"{name} (cuda)"] < 5e-2 for name in CUDA)


def test_what_cannot_be_in_bfloat16_is_refused_by_name(run, tmp_path):
    for word, target, message in (
        ("unet=bf16", "cuda", "unet .* for cuda .*no bfloat16 convolution .*; --target tensorrt-rtx can"),
        ("vae_decoder=bf16", "cuda", "vae_decoder cannot .*no bfloat16 convolution"),
        ("decoder=bf16", "cuda", "decoder cannot .* for cuda .*keeps keys and values in float16"),
        ("bf16", "cpu", "'bf16' is not supported .*; --target cuda can"),
    ):
        with pytest.raises(ExportError, match=message):
            export_bundle(run, tmp_path / "out", precision=word, targets=[target])
    assert not list(tmp_path.iterdir())
    assert all("bf16" in PRECISIONS["tensorrt"][name] for name in ENGINES)


def test_bfloat16_holds_what_float16_does_not(tmp_path):
    large = torch.full((8, 8), 3e5)
    with CudaLowering(BFLOAT16).open(tmp_path, "net.cuda") as ops:
        g = ops.g
        g.output("y", ops.matmul(g.input("x", "float32", ["rows", 8]), large), "float32", ["rows", 8])
        g.save()
    check_kernels(OnnxFile(tmp_path / "net.cuda.onnx"))
    with emulated(tmp_path / "net.cuda.onnx") as path:
        session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {"x": np.ones((2, 8), np.float32)})
    np.testing.assert_allclose(found, 2.4e6, rtol=2**-7)


@pytest.mark.slow
def test_a_damaged_graph_is_noticed(cuda, run, tmp_path):
    out = tmp_path / "bundle"
    shutil.copytree(cuda, out)
    path = out / "text_encoder.cuda.onnx"
    model = onnx.load(path, load_external_data=False)
    gates = [n for n in model.graph.node if n.op_type in ("QuickGelu", "BiasGelu")]
    gates[0].op_type, gates[0].domain = "Add" if len(gates[0].input) == 2 else "Identity", ""
    del gates[0].attribute[:]
    path.write_bytes(model.SerializeToString())
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    manifest["files"][path.name] = file_entry(path)
    (out / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ExportError, match="text_encoder.cuda: the graph differs from PyTorch"):
        verify_bundle(run, out)


@pytest.mark.slow
def test_graphs_for_engines(run, tmp_path):
    found = components_of(Checkpoint.open(run), parse_precisions("bf16", ["tensorrt-rtx"]))
    for part in found:
        if part.name not in ENGINES:
            continue
        module = part.load()
        graph, _ = part.write(module, tmp_path, "tensorrt-rtx")
        model = onnx.load(tmp_path / graph, load_external_data=False)
        assert {node.domain for node in model.graph.node} == {""}
        assert TensorProto.FLOAT16 not in {t.data_type for t in model.graph.initializer}
        assert 1e-3 < part.compare(module, tmp_path, "tensorrt-rtx").exact < 5e-2


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="needs tensorrt-rtx-cu13")
def test_engines_are_built(run, tmp_path):
    out = tmp_path / "out"
    export_bundle(run, out, precision="bf16", targets=["tensorrt-rtx"], only=ENGINES)
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    for name in ENGINES:
        (variant,) = manifest["components"][name]["variants"]
        assert (variant["target"], variant["precision"]) == ("tensorrt-rtx", "bf16")
        assert (out / variant["files"][1]).stat().st_size > 20_000
