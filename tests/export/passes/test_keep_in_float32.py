"""Float16 graphs of weights that overflow float16: measured, and kept in float32 where they would.

The residual stream of each module is made so large that float16 cannot hold it; the next norm undoes it. On a
CPU most operators compute in float32 and hide that, so the graphs are run here as a GPU stores their values:
what a float16 node gives beyond the limit becomes infinite.
"""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig

from g4v.cli import main
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.abstractor import export_abstractor
from g4v.export.components.encoder import export_encoder
from g4v.export.components.unet import export_unet
from g4v.export.errors import ExportError
from g4v.export.graph.cpu import CPU
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.cuda_kernels import check_kernels
from g4v.export.graph.dtype import FLOAT16
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.graph.standard import StandardLowering
from g4v.export.passes.keep_in_float32 import MARGIN, keep_in_float32, measure_graph
from g4v.export.report.report import read_components
from g4v.export.verify import comparison as verify
from g4v.export.verify.activation_ranges import LIMIT, by_kind, measure_ranges
from g4v.export.verify.range_probes import INNER
from g4v.export.verify.samples import Samples
from g4v.export.verify.value_types import value_types
from g4v.model.vision import build_encoder

CUDA, STANDARD = CudaLowering(FLOAT16), StandardLowering(FLOAT16)
both = pytest.mark.parametrize("lowering", [STANDARD, CUDA], ids=["standard", "cuda"])


@torch.no_grad()
def scaled(*layers, by):
    for layer in layers:
        layer.weight *= by
        layer.bias *= by


def large_encoder(checkpoint):
    encoder = checkpoint.encoder()
    scaled(encoder.encoder.layers[0].mlp.fc2, by=1e6)
    return encoder


def large_abstractor(checkpoint):
    abstractor = checkpoint.abstractor()
    scaled(abstractor.encoder.layers[0].crossattention.output.mlp.w2, by=1e6)
    return abstractor


def large_unet(checkpoint):
    """conv_in's result goes through groups norms, and on as a skip to the last block."""
    unet = checkpoint.unet().float()
    scaled(unet.conv_in, by=1e6)  # some of these weights are themselves beyond float16
    return unet


LARGE = {
    "encoder": (large_encoder, export_encoder, lambda m, f, s, x: verify.verify_encoder(m, f, 4, s, x)),
    "abstractor": (
        large_abstractor,
        export_abstractor,
        lambda m, f, s, x: verify.verify_abstractor(m, f, 4, 17, s, x),
    ),
    "unet": (large_unet, export_unet, lambda m, f, s, x: verify.verify_unet(m, f, 16, 8, s, x)),
}


def as_on_a_gpu(folder, stem):
    """Puts a graph beside it that gives infinity where float16 would; returns its stem."""
    model = onnx.load(folder / f"{stem}.onnx", load_external_data=False)
    types, nodes = value_types(model.graph), []
    limit = helper.make_tensor("gpu.limit", TensorProto.FLOAT, [], [LIMIT])
    infinite = helper.make_tensor("gpu.inf", TensorProto.FLOAT, [], [np.inf])
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            nodes.append(helper.make_node("Cast", [tensor.name + ".16"], [tensor.name], to=TensorProto.FLOAT))
            tensor.name += ".16"
    model.graph.initializer.extend([limit, infinite])
    for node in model.graph.node:
        halves = [name for name in node.output if types.get(name) == TensorProto.FLOAT16]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
        for place, name in enumerate(node.output):
            if name in halves:
                node.output[place] = f"{name}.gpu"
        nodes.append(node)
        for name in halves:
            own = f"{name}.gpu"
            nodes += [
                helper.make_node("Abs", [own], [own + ".abs"]),
                helper.make_node("Greater", [own + ".abs", "gpu.limit"], [own + ".over"]),
                helper.make_node("Where", [own + ".over", "gpu.inf", own], [name]),
            ]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    (folder / f"{stem}.gpu.onnx").write_bytes(model.SerializeToString())
    return f"{stem}.gpu"


@pytest.mark.slow
@both
@pytest.mark.parametrize("name", LARGE)
def test_what_overflows_stays_in_float32(run, tmp_path, name, lowering):
    checkpoint = Checkpoint.open(run)
    make, export, compare = LARGE[name]
    feeds = Samples(checkpoint).feeds(name)
    export(make(checkpoint), tmp_path, f"{name}.half", lowering)
    before = as_on_a_gpu(tmp_path, f"{name}.half")
    assert compare(make(checkpoint), tmp_path, before, ()) == float("inf")

    found = measure_graph(tmp_path, f"{name}.half", feeds, half=True)
    assert max(found.largest.values()) > LIMIT
    assert max(found.kept.values()) == max(found.largest.values())
    assert 0 < found.left < LIMIT / MARGIN
    if lowering is CUDA:
        check_kernels(OnnxFile(tmp_path / f"{name}.half.onnx"))
    after = as_on_a_gpu(tmp_path, f"{name}.half")
    for stem in (f"{name}.half", after):
        for given in ((), feeds[:2]):  # random and real
            assert compare(make(checkpoint), tmp_path, stem, given) < 1e-2
    # Most of the graph is float16 all the same, and what was kept is named after its nodes.
    graph = onnx.load(tmp_path / f"{name}.half.onnx", load_external_data=False).graph
    assert set(found.kept) <= {node.name for node in graph.node}
    halves = sum(kind == TensorProto.FLOAT16 for kind in value_types(graph).values())
    assert halves > 0.5 * len(value_types(graph))
    weights = sum(t.data_type == TensorProto.FLOAT16 for t in graph.initializer)
    assert weights > 0.5 * len(graph.initializer)


@both
def test_the_residual_stream_of_a_clip_tower(tmp_path, lowering):
    """It goes through fused norms with a skip, from layer to layer."""
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40}
    torch.manual_seed(0)
    encoder = build_encoder(CLIPVisionConfig(**sizes, image_size=24, patch_size=8)).eval()
    scaled(encoder.model.encoder.layers[0].mlp.fc2, by=3e6)
    feeds = [{"pixel_values": np.random.default_rng(i).normal(size=(3, 3, 24, 24))} for i in range(2)]
    feeds = [{name: value.astype(np.float32) for name, value in feed.items()} for feed in feeds]
    export_encoder(encoder, tmp_path, "encoder.half", lowering)
    assert verify.verify_encoder(encoder, tmp_path, 3, as_on_a_gpu(tmp_path, "encoder.half")) == float("inf")
    found = measure_graph(tmp_path, "encoder.half", feeds, half=True)
    assert len(found.kept) >= 4  # of every layer after the first
    assert verify.verify_encoder(encoder, tmp_path, 3, as_on_a_gpu(tmp_path, "encoder.half")) < 1e-2


def test_attention_whose_scores_overflow_is_computed_in_float32(run, tmp_path):
    """The fused operator as a whole; of standard operators the scores and what they are made of."""
    abstractor = Checkpoint.open(run).abstractor()
    for layer in abstractor.encoder.layers:
        scaled(layer.crossattention.attention.query, by=300)
        scaled(layer.crossattention.attention.key, by=300)
    feeds = Samples(Checkpoint.open(run)).feeds("abstractor")
    kept = {}
    for stem, lowering in (("cuda", CUDA), ("standard", STANDARD)):
        export_abstractor(abstractor, tmp_path, stem, lowering)
        ranges = measure_ranges(tmp_path, stem, feeds)
        kept[stem] = keep_in_float32(tmp_path / f"{stem}.onnx", ranges)
        file = OnnxFile(tmp_path / f"{stem}.onnx")
        graph = file.graph
        if lowering is CUDA:
            inside = {name for name in ranges if name.endswith(INNER) and ranges[name] * MARGIN > LIMIT}
            assert inside and inside <= {name + INNER for name in kept[stem]}
            check_kernels(file)
        types = value_types(graph)
        for node in graph.node:
            if node.name in kept[stem]:
                assert types[node.output[0]] == TensorProto.FLOAT
    assert any(name.startswith("MultiHeadAttention") for name in kept["cuda"])
    assert any(name.startswith("Softmax") for name in kept["standard"])


def test_ranges_are_those_of_the_values(run, tmp_path):
    """Against the values themselves, all of them held."""
    from g4v.export.verify.session import open_session

    checkpoint = Checkpoint.open(run)
    feeds = Samples(checkpoint).feeds("abstractor")[:3]
    export_abstractor(checkpoint.abstractor(), tmp_path, "whole", STANDARD)
    ranges = measure_ranges(tmp_path, "whole", feeds)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["whole.data", "whole.onnx"]
    model = onnx.load(tmp_path / "whole.onnx", load_external_data=False)
    products = [n.output[0] for n in model.graph.node if n.op_type in ("MatMul", "Softmax")]
    for name in products:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT16, None))
    (tmp_path / "all.onnx").write_bytes(model.SerializeToString())
    session = open_session(tmp_path / "all.onnx", as_written=True)
    seen = [session.run(products, feed) for feed in feeds]
    for index, name in enumerate(products):
        largest = max(float(np.abs(v[index].astype(np.float32)).max(initial=0)) for v in seen)
        assert ranges[name] == pytest.approx(largest, rel=2e-2)
    kinds = by_kind(tmp_path, "whole", ranges)
    assert kinds["MatMul"] == max(ranges[n] for n in products if n.startswith("MatMul"))
    assert kinds["Softmax"] <= 1 and list(kinds.values()) == sorted(kinds.values(), reverse=True)


def test_ordinary_graphs_stay_as_they_are(run, tmp_path):
    checkpoint = Checkpoint.open(run)
    feeds = Samples(checkpoint).feeds("text_encoder")
    from g4v.export.components.text_encoder import export_text_encoder

    for lowering in (STANDARD, CUDA, CPU):
        export_text_encoder(checkpoint.text_encoder(), tmp_path, "text", lowering)
        before = (tmp_path / "text.onnx").read_bytes()
        found = measure_graph(tmp_path, "text", feeds, lowering is not CPU)
        # The mask of later positions is large on purpose, and does not count.
        assert found.kept == {} and found.left == max(found.largest.values()) < 1000
        assert (tmp_path / "text.onnx").read_bytes() == before


def test_a_weight_beyond_float16_is_exported_for_cuda(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    file = copy / "encoder" / "model.safetensors"
    weights = {name: weight.float() for name, weight in load_file(file).items()}
    weights["encoder.layers.0.mlp.fc1.weight"][0, 0] = 1e5
    save_file(weights, file, {"format": "pt"})
    export_bundle(copy, tmp_path / "out", targets=["cuda"], only=["encoder"])
    (part,) = read_components(tmp_path / "out")
    assert part.kept


def test_values_that_are_not_finite_in_float32_are_an_error(run, tmp_path):
    abstractor = Checkpoint.open(run).abstractor()
    scaled(abstractor.encoder.layers[0].crossattention.output.mlp.w2, by=1e39)
    export_abstractor(abstractor, tmp_path, "abstractor", STANDARD)
    with pytest.raises(ExportError, match="abstractor: .* is not finite, even in float32"):
        measure_ranges(tmp_path, "abstractor", Samples(Checkpoint.open(run)).feeds("abstractor"))


@pytest.fixture(scope="module")
def large_run(run, tmp_path_factory):
    """The run with the first layer of its abstractor 300,000 times as large, in float32."""
    out = tmp_path_factory.mktemp("large") / "run"
    shutil.copytree(run, out)
    (file,) = (out / "abstractor").glob("*.safetensors")
    weights = {name: value.float() for name, value in load_file(file).items()}
    for name in weights:
        if "layers.0.crossattention.output.mlp.w2" in name:
            weights[name] = weights[name] * 3e5
    save_file(weights, file, {"format": "pt"})
    return out


def test_the_report_names_what_stayed_in_float32(large_run, tmp_path, capsys):
    lines = []
    out = tmp_path / "out"
    export_bundle(large_run, out, targets=["cuda"], only=["abstractor"], report=lines.append)
    (part,) = json.loads((out / "report.json").read_text("utf-8"))["components"]
    assert part["kept"] and max(part["kept"].values()) > LIMIT > MARGIN * part["left"]
    assert any(f"{len(part['kept'])} nodes stay in float32" in line for line in lines)
    errors = (part["relative_error"], part["real_error"])
    assert all(1e-6 < error < 1e-2 for error in errors)
    first = next(iter(part["kept"]))
    page = (out / "report.html").read_text("utf-8")
    assert f"a factor of {MARGIN:g} of the limit, abstractor (cuda): {first} " in page
    assert main(["inspect", str(out)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  abstractor (cuda)")]
    assert f"{len(part['kept'])} nodes" in row


@pytest.mark.slow
def test_an_engine_is_built_of_both_types(large_run, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    out = tmp_path / "out"
    export_bundle(large_run, out, targets=["tensorrt-rtx"], only=["abstractor"])
    (part,) = json.loads((out / "report.json").read_text("utf-8"))["components"]
    assert part["kept"] and (out / "abstractor.tensorrt-rtx.engine").stat().st_size > 10_000
