"""Bundles for ONNX Runtime's CUDA provider. Without a GPU this is what can be told of them: the provider has
a kernel for every node, by the table of its kernels, and the graphs' numbers on the CPU are right.
"""

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import g4v
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components import precision
from g4v.export.components.precision import PRECISIONS, parse_precisions
from g4v.export.errors import ExportError
from g4v.export.graph.cpu import CPU
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.cuda_kernels import KERNELS, check_kernels
from g4v.export.graph.dtype import FLOAT16
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.graph.operators import MICROSOFT, ONNX_OPSET
from g4v.export.plan.export_estimate import estimate_export

EVERYTHING = Overrides(video_to_video=True)  # every component
# Of a run with a UNet; one with a transformer is in test_wan.py.
COMPONENTS = tuple(name for name in precision.COMPONENTS if name != "transformer")


def export(run, folder, *precision, targets=("cpu", "cuda"), **options):
    export_bundle(run, folder, precision=precision, targets=targets, calibration="none", **options)
    return json.loads((folder / "g4v.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def both(run, tmp_path_factory):
    """Both variants of every component, the decoder's in 4 bits."""
    out = tmp_path_factory.mktemp("cuda") / "both"
    export(run, out, "int4", overrides=EVERYTHING)
    return out


def variants(folder):
    manifest = json.loads((folder / "g4v.json").read_text("utf-8"))
    return {(name, v["target"]): v for name, part in manifest["components"].items() for v in part["variants"]}


def graph(folder, variant):
    return onnx.load(folder / variant["graph"], load_external_data=False).graph


def places(folder, variant):
    """Of every weight in a data file: file and number of bytes."""
    found = []
    for tensor in graph(folder, variant).initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            found.append((tensor, place["location"], int(place["length"])))
    return found


@pytest.mark.slow
def test_every_component_has_a_variant(both):
    found = variants(both)
    assert {name for name, target in found if target == "cuda"} == set(COMPONENTS)
    for name in COMPONENTS:
        variant = found[name, "cuda"]
        assert variant["precision"] == ("int4" if name == "decoder" else "fp16")
        assert "profile" not in variant  # any size
        half, whole = graph(both, variant), graph(both, found[name, "cpu"])
        inputs = whole.input
        if name == "abstractor":  # of two graphs on the CPU
            inputs = graph(both, {"graph": found[name, "cpu"]["memory_graph"]}).input
        for a, b in ((half.input, inputs), (half.output, whole.output)):
            assert [v.name for v in a] == [v.name for v in b]
            for one, other in zip(a, b, strict=True):
                kept = ("past_key_values", "present")
                wanted = (
                    TensorProto.FLOAT16 if one.name.startswith(kept) else other.type.tensor_type.elem_type
                )
                assert one.type.tensor_type.elem_type == wanted, one.name
    # The fused operators of the CPU's graphs, and none of g4v's own.
    for name in COMPONENTS:
        kinds, plain = (
            {n.op_type for n in graph(both, found[name, target]).node} for target in ("cuda", "cpu")
        )
        fused = {n for n in plain if n in KERNELS[MICROSOFT]}
        assert fused <= kinds and "CrossAttention" not in kinds
    assert {"GroupQueryAttention", "MatMulNBits", "SkipSimplifiedLayerNormalization"} <= {
        n.op_type for n in graph(both, found["decoder", "cuda"]).node
    }


@pytest.mark.slow
def test_the_provider_has_kernels_for_every_node(both, run, tmp_path):
    for (_, target), variant in variants(both).items():
        if target == "cuda":
            check_kernels(OnnxFile(both / variant["graph"]))
    export(run, tmp_path / "float32", "fp32", targets=["cuda"])
    for variant in variants(tmp_path / "float32").values():
        check_kernels(OnnxFile(tmp_path / "float32" / variant["graph"]))


@pytest.mark.slow
def test_the_cpu_provider_comes_to_the_right_numbers(both, run):
    errors = verify_bundle(run, both)
    assert set(errors) == {*COMPONENTS, *(f"{name} (cuda)" for name in COMPONENTS)}
    assert all(error < 1e-4 for name, error in errors.items() if "cuda" not in name)
    # Float16 it is, and no more than that.
    assert all(1e-6 < errors[f"{name} (cuda)"] < 1e-2 for name in COMPONENTS if name != "frame_checker")


@pytest.mark.slow
def test_a_damaged_cuda_graph_is_noticed(both, run, tmp_path):
    out = tmp_path / "bundle"
    shutil.copytree(both, out)
    path = out / "unet.cuda.onnx"
    model = onnx.load(path, load_external_data=False)
    node = next(n for n in model.graph.node if n.op_type == "QuickGelu")
    node.attribute[0].f = 3.0
    path.write_bytes(model.SerializeToString())
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    from g4v.export.bundle.manifest import file_entry

    manifest["files"][path.name] = file_entry(path)
    (out / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ExportError, match="unet.cuda: the graph differs from PyTorch"):
        verify_bundle(run, out)


@pytest.mark.slow
def test_the_core_runs_the_graphs(both, tmp_path):
    """Here on the CPU, as if they were for it: float16 keys and values are what differs for the core."""
    out = tmp_path / "bundle"
    shutil.copytree(both, out)
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    for part in manifest["components"].values():
        part["variants"] = [{**v, "target": "cpu"} for v in part["variants"] if v["target"] == "cuda"]
    (out / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    half, whole = (g4v.load(folder, device="cpu", threads=1) for folder in (out, both))
    assert half.info["components"]["unet"]["precision"] == "fp16"
    clip = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    for video in (clip, None):
        *_, done = half.chat(seed=0, max_new_tokens=8).send("Hi", video=video)
        assert isinstance(done, g4v.Done) and done.new_tokens > 0
    frames = [a.generate("a red circle", seed=3, steps=2).frames.astype(int) for a in (half, whole)]
    assert np.abs(frames[0] - frames[1]).mean() < 4  # of 255


@pytest.mark.slow
def test_codes_are_stored_once(both):
    """The scales alone are in each target's own type."""
    found = variants(both)
    half, whole = found["decoder", "cuda"], found["decoder", "cpu"]
    assert half["files"] == ["decoder.cuda.onnx", "decoder.cuda.data", "decoder.data"]
    codes = [place for place in places(both, half) if place[0].data_type == TensorProto.UINT8]
    # Matrices below 4 KiB are not worth it; the test's are small.
    assert {file for _, file, size in codes if size >= 4096} == {"decoder.data"}
    mine, shared = (
        [onnx.numpy_helper.to_array(t, str(both)) for t, _, size in places(both, v) if t.data_type == 2]
        for v in (half, whole)
    )
    assert len(mine) == len(shared) and all(np.array_equal(a, b) for a, b in zip(mine, shared, strict=True))


@pytest.mark.slow
def test_float16_weights_are_stored_once_where_the_cpu_has_them_so(run, tmp_path):
    manifest = export(run, tmp_path / "compact", store_as_float16=True)
    for name in ("unet", "decoder"):
        cpu, cuda = manifest["components"][name]["variants"]
        assert cpu["files"][1] in cuda["files"]
        sizes = {file: manifest["files"][file]["bytes"] for file in (*cpu["files"], *cuda["files"])}
        assert sizes.get(f"{name}.cuda.data", 0) < 0.7 * sizes[f"{name}.data"]
    assert max(verify_bundle(run, tmp_path / "compact").values()) < 1e-2
    assert g4v.load(tmp_path / "compact", device="cpu", threads=1).generate("a", steps=1).frames.any()


@pytest.mark.slow
def test_the_plan_knows_what_is_shared(both, run, tmp_path):
    manifest = json.loads((both / "g4v.json").read_text("utf-8"))
    checkpoint = Checkpoint.open(run)
    codes, plain = (
        {n.name: n for n in estimate_export(checkpoint, parse_precisions(words, ("cpu", "cuda")))}
        for words in ("int4", [])
    )
    for name in ("unet", "text_encoder", "decoder"):
        files = {file for v in manifest["components"][name]["variants"] for file in v["files"]}
        files |= {"embedding.bin"} if name == "decoder" else set()
        size = sum(manifest["files"][file]["bytes"] for file in files if not file.endswith(".onnx"))
        assert 0.75 * size < codes[name].disk < 1.25 * size, name
    assert codes["decoder"].precision == "int4, int4" and plain["decoder"].precision == "fp32, fp16"
    assert plain["decoder"].disk > 1.5 * codes["decoder"].disk


@pytest.mark.slow
def test_the_same_export_gives_the_same_files(both, run, tmp_path):
    export(run, tmp_path / "again", "int4", overrides=EVERYTHING)
    assert (tmp_path / "again" / "g4v.json").read_bytes() == (both / "g4v.json").read_bytes()


@pytest.mark.slow
def test_for_cuda_alone(run, tmp_path):
    manifest = export(run, tmp_path / "out", targets=["cuda"])
    for part in manifest["components"].values():
        (variant,) = part["variants"]
        assert (variant["target"], variant["precision"]) == ("cuda", "fp16")
    with pytest.raises(g4v.BundleError, match='has no variant for "cpu", only for "cuda"; export one'):
        g4v.load(tmp_path / "out", device="cpu")


def test_precisions_that_cuda_cannot_run_are_refused(run, tmp_path):
    for words, message in (
        (
            ["decoder=fp32"],
            "decoder cannot be written in 'fp32' for cuda \\(only in fp16, int8, int4\\): "
            "the CUDA provider's GroupQueryAttention computes in 16 bits alone; --target cpu can",
        ),
        (
            ["abstractor=int8"],
            "abstractor cannot .* for cuda .* has no kernel for DynamicQuantizeMatMul; --target cpu can",
        ),
        (["fp8"], "precision 'fp8' is not supported \\(one of fp16, bf16, fp32, int8, int4\\)"),
    ):
        with pytest.raises(ExportError, match=message):
            export_bundle(run, tmp_path / "out", precision=words, targets=["cuda"])
    assert not list(tmp_path.iterdir())
    assert parse_precisions(["decoder=int8"], ("cpu", "cuda"))["decoder"] == {"cpu": "int8", "cuda": "int8"}
    assert set(PRECISIONS["cuda"]) == set(precision.COMPONENTS)


def test_what_the_provider_has_no_kernel_for_is_named(tmp_path):
    def written(lowering, build, name="x"):
        with lowering.open(tmp_path, name) as ops:
            x = ops.g.input("x", "float32", ["rows", 8])
            ops.g.output("y", build(ops, ops.g, x), "float32", ["rows", 8])
            ops.g.save()
        return OnnxFile(tmp_path / f"{name}.onnx")

    half = CudaLowering(FLOAT16)
    check_kernels(written(half, lambda ops, g, x: ops.silu(x)))
    for build, message in (
        (lambda ops, g, x: g.op("HardSwish", x), "x.onnx: .* no kernel for HardSwish"),
        (lambda ops, g, x: g.op("CrossAttention", x, x, domain="g4v"), "no kernel for CrossAttention"),
        (lambda ops, g, x: g.op("BitShift", x, x), "no kernel for BitShift"),
        (lambda ops, g, x: g.op("Add", x, g.op("Cast", x, to=TensorProto.FLOAT)), "float16 and float,"),
        (
            lambda ops, g, x: g.op("ReduceMax", g.op("Cast", x, to=TensorProto.INT8), g.ints(1)),
            "ReduceMax .* with int8",
        ),
        (lambda ops, g, x: g.op("Identity", x, x), "Identity .* fewer inputs"),
    ):
        with pytest.raises(ExportError, match=message):
            check_kernels(written(half, build))
    # Attention over a float32 cache, which the CPU's decoder has.
    attention = written(CudaLowering(), lambda ops, g, x: g.op("GroupQueryAttention", x, domain=MICROSOFT))
    with pytest.raises(ExportError, match="GroupQueryAttention .* with float as T"):
        check_kernels(attention)
    # The table is for one set of operators.
    model = written(CPU, lambda ops, g, x: g.op("Relu", x)).model
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="x.onnx: y is declared as FLOAT16 but computed as FLOAT"):
        check_kernels(OnnxFile(tmp_path / "x.onnx"))
    (opset,) = (entry for entry in model.opset_import if entry.domain == "")
    assert opset.version == ONNX_OPSET
    opset.version += 1
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="x.onnx: .* no kernel for Relu"):
        check_kernels(OnnxFile(tmp_path / "x.onnx"))
