"""Engines of TensorRT for RTX, built here without a GPU, and the bundle that carries them."""

import ast
import json
import shutil
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

import g4v
from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.components.profile import DimensionRange
from g4v.export.engines import tensorrt
from g4v.export.engines.tensorrt import ENGINES, build_engine
from g4v.export.errors import ExportError
from g4v.export.graph.cpu import CPU
from g4v.export.graph.standard import StandardLowering

COMPONENTS = ("encoder", "abstractor", "text_encoder", "unet", "vae_decoder")
RTX = ENGINES["tensorrt-rtx"]
needs_tensorrt = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None,
    reason="needs tensorrt-rtx-cu13",
)


@pytest.fixture(scope="module")
def engines(run, tmp_path_factory):
    """Both variants of every component."""
    out = tmp_path_factory.mktemp("engines") / "both"
    words = ["--checkpoint", str(run), "--out", str(out), "--target", "cpu", "--target", "tensorrt-rtx"]
    assert main([*words, "--quiet"]) == 0
    return out


@pytest.mark.slow
@needs_tensorrt
def test_every_component_has_an_engine(engines, bundle):
    manifest = json.loads((engines / "g4v.json").read_text("utf-8"))
    several = {name for name, part in manifest["components"].items() if len(part["variants"]) > 1}
    assert several == set(COMPONENTS)
    for name in COMPONENTS:
        whole, engine = manifest["components"][name]["variants"]
        assert (whole["target"], engine["target"], engine["precision"]) == ("cpu", "tensorrt-rtx", "fp16")
        assert engine["files"] == [f"{name}.tensorrt-rtx.onnx", f"{name}.tensorrt-rtx.engine"]
        assert set(engine["files"]) <= set(manifest["files"])
        assert all(least <= usual <= most for least, usual, most in engine["profile"].values())
        # The file that ONNX Runtime opens: one node that names the engine, with the graph's own face.
        graph = onnx.load(engines / engine["graph"]).graph
        plain = onnx.load(engines / whole["graph"], load_external_data=False).graph
        inputs = plain.input
        if name == "abstractor":  # of two graphs on the CPU
            inputs = onnx.load(engines / whole["memory_graph"], load_external_data=False).graph.input
        (node,) = graph.node
        values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert node.op_type == "EPContext" and values["embed_mode"] == 0
        assert values["source"] == RTX.provider.encode()  # by which the plugin knows its own
        # ONNX Runtime's own schema of the node.
        known = next(s for s in get_all_operator_schema() if s.name == "EPContext").attributes
        for attribute in node.attribute:
            assert int(known[attribute.name].type.value) == attribute.type
        assert values["ep_cache_context"].decode() == engine["files"][1]
        assert [v.name for v in graph.input] == [v.name for v in inputs] == list(node.input)
        assert [v.name for v in graph.output] == [v.name for v in plain.output] == list(node.output)
        # All that can be told of an engine without a GPU: it holds the weights, in half of their bytes.
        weights = (engines / f"{name}.data").stat().st_size
        assert (engines / engine["files"][1]).stat().st_size > 0.4 * weights
    # What the CPU runs is what a bundle without engines has.
    assert (engines / "unet.data").read_bytes() == (bundle / "unet.data").read_bytes()


@pytest.mark.slow
@needs_tensorrt
def test_a_bundle_with_engines_runs_on_the_cpu(engines, run):
    assistant = g4v.load(engines, device="cpu", threads=1)
    assert {part["target"] for part in assistant.info["components"].values()} == {"cpu"}
    assert assistant.generate("a red circle", steps=1).frames.dtype.name == "uint8"
    assert set(verify_bundle(run, engines)) >= set(COMPONENTS)


@pytest.mark.slow
@needs_tensorrt
def test_engines_alone(run, tmp_path, capsys):
    out = tmp_path / "engines"
    words = ["--checkpoint", str(run), "--out", str(out), "--component", "abstractor"]
    assert main([*words, "--target", "tensorrt-rtx", "--precision", "fp32"]) == 0
    variants = json.loads((out / "g4v.json").read_text("utf-8"))["components"]["abstractor"]["variants"]
    assert [(v["target"], v["precision"]) for v in variants] == [("tensorrt-rtx", "fp32")]
    assert "abstractor for tensorrt-rtx: " in capsys.readouterr().err
    assert not list(out.glob("*.data"))
    again = tmp_path / "again"
    words[words.index(str(out))] = str(again)
    assert main([*words, "--target", "tensorrt-rtx", "--precision", "fp32", "--quiet"]) == 0
    assert (again / "g4v.json").read_bytes() == (out / "g4v.json").read_bytes()  # which names all hashes


@needs_tensorrt
def test_what_tensorrt_cannot_take_is_named(tmp_path):
    with CPU.open(tmp_path, "fused") as ops:  # with an operator of ONNX Runtime
        g = ops.g
        x = g.input("x", "float32", ["rows", 8])
        g.output("y", ops.silu(x), "float32", ["rows", 8])
        g.save()
    with pytest.raises(ExportError, match="fused: TensorRT cannot read the graph: .*QuickGelu"):
        build_engine(tmp_path, "fused", {"rows": DimensionRange(1, 2, 4)}, RTX)
    with StandardLowering().open(tmp_path, "plain") as ops:
        g = ops.g
        x = g.input("x", "float32", ["rows", 8])
        g.output("y", ops.matmul(x, torch.eye(8)), "float32", ["rows", 8])
        g.save()
    with pytest.raises(ExportError, match="plain.onnx: no profile for 'rows' of 'x'"):
        build_engine(tmp_path, "plain", {}, RTX)


def test_a_profile_must_be_in_order():
    with pytest.raises(ExportError, match="a profile of 2, 1, 4 is not in order"):
        DimensionRange(2, 1, 4)


@pytest.mark.parametrize("target", ENGINES)
def test_a_missing_package_is_named_before_anything_is_written(run, tmp_path, monkeypatch, target):
    monkeypatch.setitem(sys.modules, ENGINES[target].module, None)  # as if it were not installed
    with pytest.raises(ExportError, match=f'target {target} needs .*pip install "g4v\\[{target}\\]"'):
        export_bundle(run, tmp_path / "out", targets=[target])
    assert not list(tmp_path.iterdir())


# What tensorrt 10 and tensorrt_rtx 1 both have, and the exporter may use: names of the module, and attributes
# of its objects.
COMMON = {
    "Builder",
    "OnnxParser",
    "NetworkDefinitionCreationFlag",
    "ILogger",
    "HardwareCompatibilityLevel",
    "MemoryPoolType",
    "__version__",
}
COMMON_ATTRIBUTES = {
    "Builder": {
        "create_network",
        "create_builder_config",
        "create_optimization_profile",
        "build_serialized_network",
    },
    "OnnxParser": {"parse_from_file", "num_errors", "get_error"},
    "ParserError": {"node_operator", "node_name", "desc"},
    "IBuilderConfig": {"add_optimization_profile", "create_timing_cache", "set_timing_cache"},
    "ITimingCache": {"serialize"},
    "IOptimizationProfile": {"set_shape"},
    "NetworkDefinitionCreationFlag": {"STRONGLY_TYPED"},
    "ILogger": {"ERROR", "INTERNAL_ERROR"},
}


@pytest.fixture
def as_tensorrt(monkeypatch):
    """A module `tensorrt` that is tensorrt_rtx, less what only the latter may have."""
    import tensorrt_rtx

    module = types.ModuleType("tensorrt")
    for name in COMMON - {"__version__"}:
        setattr(module, name, getattr(tensorrt_rtx, name))
    module.__version__ = "10.13.3"
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


def test_only_what_both_packages_have_is_used():
    tree = ast.parse(Path(tensorrt.__file__).read_text("utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    trt = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "trt"
    }
    assert trt <= COMMON
    if find_spec("tensorrt_rtx"):
        import tensorrt_rtx

        for kind, names in COMMON_ATTRIBUTES.items():
            known = set(dir(getattr(tensorrt_rtx, kind)))
            assert names <= known
            # Whatever a class of the package has and the exporter names is on the list.
            others = set().union(*COMMON_ATTRIBUTES.values()) | {"name", "logger", "log"}
            assert {n for n in used & known if not n.startswith("_")} <= others, kind


@pytest.mark.slow
@needs_tensorrt
def test_engines_of_tensorrt_are_built_by_the_same_code(run, tmp_path, as_tensorrt):
    out = tmp_path / "bundle"
    export_bundle(run, out, targets=["tensorrt"], only=["abstractor"])
    (variant,) = json.loads((out / "g4v.json").read_text("utf-8"))["components"]["abstractor"]["variants"]
    assert (variant["target"], variant["precision"]) == ("tensorrt", "fp16")
    assert variant["files"] == ["abstractor.tensorrt.onnx", "abstractor.tensorrt.engine"]
    (node,) = onnx.load(out / variant["graph"]).graph.node
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert values["source"] == b"TensorrtExecutionProvider" and values["ep_sdk_version"] == b"10.13.3"
    assert values["hardware_architecture"] == b""  # of the GPU that built it
    as_tensorrt.__version__ = "11.4.0"
    with pytest.raises(ExportError, match='needs tensorrt 10, .* not 11.4.0: pip install "g4v.tensorrt.'):
        export_bundle(run, tmp_path / "other", targets=["tensorrt"])


def test_the_core_refuses_videos_outside_the_profile(bundle, tmp_path):
    """Engines run on GPUs alone: here graphs for the CPU are said to have an engine's profile."""
    out = tmp_path / "bundle"
    shutil.copytree(bundle, out)
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    video = manifest["generation"]["video"]
    scale = manifest["components"]["vae_decoder"]["scale_factor"]
    side, frames = video["width"] // scale, video["frames"]
    unet, vae = (manifest["components"][name]["variants"][0] for name in ("unet", "vae_decoder"))
    unet["profile"] = {
        "batch": [1, 2, 2],
        "frames": [1, frames, frames],
        "height": [side] * 3,
        "width": [1, side, side],
    }
    vae["profile"] = {"latent_height": [side] * 3, "latent_width": [2, side, side]}

    def load():
        (out / "g4v.json").write_text(json.dumps(manifest), "utf-8")
        return g4v.load(out, device="cpu", threads=1)

    assistant = load()
    whole, less = side * scale, (side - 1) * scale
    made = assistant.generate("a red circle", steps=1, frames=1, width=less)
    assert made.frames.shape == (1, whole, less, 3)
    for options, message in (
        (
            {"frames": frames + 1},
            f"frames is {frames + 1} but the bundle's cpu engine is built for 1 to {frames}",
        ),
        (
            {"width": whole + scale},
            f"width is {whole + scale} .* built for {scale} to {whole}; export another",
        ),
        (
            {"height": less},
            f"height is {less} but the bundle's cpu engine is built for {whole}; export another",
        ),
        ({"width": scale}, f"width is {scale} .* built for {2 * scale} to {whole}"),  # the VAE's
    ):
        with pytest.raises(g4v.ArgumentError, match=message):
            assistant.generate("a red circle", steps=1, **options)
        with pytest.raises(g4v.ArgumentError, match=message):
            assistant.chat(**options)
    for wrong in ([1, 2], [2, 1, 3], [0, 1, 1], "all"):
        unet["profile"]["frames"] = wrong
        with pytest.raises(g4v.BundleError, match="profile.*frames"):
            load()
