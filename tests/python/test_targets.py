"""Which variants of a bundle are run, and what is said where one cannot be. No test here needs a GPU: the
driver and the provider plugin of TensorRT for RTX have stand-ins, whose every session fails.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import g4v
from g4v._runtime import import_core, onnxruntime_directories

SOURCE = Path(__file__).resolve().parents[1] / "csrc" / "fake_rtx_plugin.c"
PLUGIN = "libonnxruntime_providers_nv_tensorrt_rtx.so"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(
    not COMPILER or not sys.platform.startswith("linux"), reason="needs a C compiler, on Linux"
)


def has_cuda() -> bool:
    try:
        import_core().probe_device("cuda", directories=onnxruntime_directories())
        return True
    except g4v.Error:
        return False


no_cuda = pytest.mark.skipif(has_cuda(), reason="CUDA works here")


def with_engines(folder, bundle_dir, *components, cpu=True):
    """The bundle with engine variants of some components: EPContext files as the exporter writes them."""
    shutil.copytree(bundle_dir, folder)
    manifest = json.loads((folder / "g4v.json").read_text("utf-8"))
    import hashlib

    for name in components or manifest["components"]:
        part = manifest["components"][name]
        graph = onnx.load(folder / part["variants"][0]["graph"], load_external_data=False).graph
        node = onnx.helper.make_node(
            "EPContext",
            [v.name for v in graph.input],
            [v.name for v in graph.output],
            domain="com.microsoft",
            main_context=1,
            embed_mode=0,
            ep_cache_context=f"{name}.engine",
            source="NvTensorRTRTXExecutionProvider",
        )
        model = onnx.helper.make_model(
            onnx.helper.make_graph([node], name, graph.input, graph.output),
            ir_version=10,
            opset_imports=[onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("com.microsoft", 1)],
        )
        files = {f"{name}.rtx.onnx": model.SerializeToString(), f"{name}.engine": b"no engine"}
        for file, content in files.items():
            (folder / file).write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            manifest["files"][file] = {"bytes": len(content), "sha256": digest}
        engine = {"target": "tensorrt-rtx", "precision": "fp16", "graph": f"{name}.rtx.onnx"}
        engine["files"] = list(files)
        part["variants"] = [*(part["variants"] if cpu else ()), engine]
    (folder / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    return folder


def python(script, *arguments, **variables):
    """Standard output of a script in a process of its own: a plugin is registered once for each."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOAD = """
import json, sys, g4v
try:
    info = g4v.load(sys.argv[1], device=sys.argv[2], threads=1).info
    print(json.dumps([info["device"], info["components"], info["not_used"]]))
except g4v.Error as error:
    print(type(error).__name__, error)
"""


def build(source, library):
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, source], check=True)


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """A folder with the plugin, and one with the driver's libraries."""
    plugin, driver = (tmp_path_factory.mktemp(name) for name in ("plugin", "driver"))
    build(SOURCE, plugin / PLUGIN)
    (driver / "empty.c").write_text("void g4v_no_driver(void) {}\n")
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        build(driver / "empty.c", driver / name)
    return plugin, driver


def test_the_cpu_takes_the_variant_for_the_cpu(bundle_dir, tmp_path):
    info = g4v.load(with_engines(tmp_path / "both", bundle_dir), device="cpu", threads=1).info
    assert {(c["target"], c["provider"]) for c in info["components"].values()} == {("cpu", "cpu")}
    assert info["not_used"] == {}
    engines = with_engines(tmp_path / "engines", bundle_dir, cpu=False)
    with pytest.raises(
        g4v.BundleError,
        match='has no variant for "cpu", only for "tensorrt-rtx"; export one with --target cpu',
    ):
        g4v.load(engines, device="cpu")


def test_a_damaged_engine_is_refused(bundle_dir, tmp_path):
    engines = with_engines(tmp_path / "both", bundle_dir, "encoder")
    (engines / "encoder.engine").write_bytes(b"another..")
    with pytest.raises(g4v.BundleError, match='damaged, .*: "encoder.engine"'):
        g4v.load(engines)


@no_cuda
def test_cuda_does_not_fall_back(bundle_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("G4V_TENSORRT_RTX_PROVIDER", str(tmp_path))
    with pytest.raises(g4v.RuntimeUnavailable, match="onnxruntime-gpu"):
        g4v.load(bundle_dir, device="cuda")
    both = with_engines(tmp_path / "both", bundle_dir)
    with pytest.raises(g4v.RuntimeUnavailable) as error:
        g4v.load(both, device="cuda")
    assert "onnxruntime-gpu" in str(error.value) and "\n" not in str(error.value)
    assert f"; engines of TensorRT for RTX cannot be used: $G4V_TENSORRT_RTX_PROVIDER is {tmp_path}" in str(
        error.value
    )
    # "auto" may, and says why.
    info = g4v.load(both, threads=1).info
    assert info["device"] == "cpu" and set(info["not_used"]) == {"cuda", "tensorrt-rtx"}
    assert {c["target"] for c in info["components"].values()} == {"cpu"}
    with pytest.raises(
        g4v.RuntimeUnavailable, match='written for "tensorrt-rtx", .* here: engines of TensorRT'
    ):
        g4v.load(with_engines(tmp_path / "engines", bundle_dir, cpu=False))


def test_a_missing_plugin_says_what_to_install():
    resolve = import_core().resolve_targets
    _, usable, refused = resolve(
        "auto", {"tensorrt-rtx", "cpu"}, ["/nonexistent"], directories=onnxruntime_directories()
    )
    assert refused["tensorrt-rtx"] == (
        "engines of TensorRT for RTX cannot be used: their provider is not installed; "
        '`pip install "g4v[rtx]"` brings it'
    )
    assert usable[-1] in (("cpu", "cpu"), ("cpu", "cuda"))
    _, usable, refused = resolve("cpu", {"tensorrt-rtx"}, directories=onnxruntime_directories())
    assert (usable, refused) == ([("cpu", "cpu")], {})
    with pytest.raises(g4v.ArgumentError, match='unknown device "tpu"'):
        resolve("tpu", set(), directories=onnxruntime_directories())


def test_engines_of_tensorrt_need_its_provider():
    core = import_core()
    if "TensorrtExecutionProvider" in core.library_info(directories=onnxruntime_directories())["providers"]:
        pytest.skip("this ONNX Runtime has the provider")
    _, _, refused = core.resolve_targets("auto", {"tensorrt"}, directories=onnxruntime_directories())
    assert "this ONNX Runtime has no TensorRT provider: install onnxruntime-gpu" in refused["tensorrt"]
    assert 'pip install "g4v[tensorrt]"' in refused["tensorrt"]


@needs_compiler
def test_a_machine_without_driver_is_told_so(bundle_dir, tmp_path, stand_ins):
    try:
        import ctypes

        ctypes.CDLL("libcuda.so.1")
        pytest.skip("there is a driver")
    except OSError:
        pass
    plugin, _ = stand_ins
    both = with_engines(tmp_path / "both", bundle_dir)
    text = python(LOAD, both, "auto", G4V_TENSORRT_RTX_PROVIDER=plugin)
    device, components, not_used = json.loads(text)
    assert device == "cpu" and {c["target"] for c in components.values()} == {"cpu"}
    assert "there is no NVIDIA driver (libcuda.so.1: cannot open" in not_used["tensorrt-rtx"]


@needs_compiler
@no_cuda
def test_a_plugin_that_finds_no_gpu(bundle_dir, tmp_path, stand_ins):
    plugin, driver = stand_ins
    both = with_engines(tmp_path / "both", bundle_dir)
    variables = {"G4V_TENSORRT_RTX_PROVIDER": plugin / PLUGIN, "LD_LIBRARY_PATH": driver}
    text = python(LOAD, both, "cuda", G4V_FAKE_RTX_DEVICES=0, **variables)
    assert text.startswith("RuntimeUnavailable ") and "their provider finds no GPU that it can use" in text


@needs_compiler
@no_cuda
def test_engines_go_to_the_plugin_and_the_rest_does_not(bundle_dir, tmp_path, stand_ins):
    plugin, driver = stand_ins
    variables = {
        "G4V_TENSORRT_RTX_PROVIDER": plugin,
        "LD_LIBRARY_PATH": driver,
        "G4V_FAKE_RTX_DEVICES": 1,
    }
    # The session is made by the plugin, whose refusal comes through in one line.
    both = with_engines(tmp_path / "both", bundle_dir, "encoder")
    for device in ("auto", "cuda"):
        text = python(LOAD, both, device, **variables)
        assert text.startswith("RuntimeUnavailable ") and "\n" not in text
        if device == "auto":
            assert "encoder.rtx.onnx cannot be loaded" in text and "the stand-in runs no engines" in text
        else:  # the decoder has no engine, and nothing but the CPU would run it
            assert 'decoder is written for "cpu", which cannot be used here' in text and "gpu" in text
    _, usable, refused = json.loads(
        python(
            "import json; from g4v._runtime import *; print(json.dumps(import_core().resolve_targets("
            "'auto', {'tensorrt-rtx', 'cpu'}, directories=onnxruntime_directories())))",
            **variables,
        )
    )
    assert usable == [["tensorrt-rtx", "tensorrt-rtx"], ["cpu", "cpu"]] and set(refused) == {"cuda"}


@needs_compiler
def test_a_plugin_that_does_not_load(bundle_dir, tmp_path, stand_ins):
    _, driver = stand_ins
    (tmp_path / PLUGIN).write_text("no library")
    both = with_engines(tmp_path / "both", bundle_dir, "encoder")
    text = python(LOAD, both, "auto", G4V_TENSORRT_RTX_PROVIDER=tmp_path, LD_LIBRARY_PATH=driver)
    if not has_cuda():
        reason = json.loads(text)[2]["tensorrt-rtx"]
        assert "their provider does not load: " in reason and PLUGIN in reason
        assert "ONNXRuntimeError" not in reason and "\n" not in reason
