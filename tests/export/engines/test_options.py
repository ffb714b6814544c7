"""Options of engine builds: what each library can do, what is refused, and what is told of them."""

import json
import types
from importlib.util import find_spec

import onnx
import pytest
import torch

from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.components.profile import DimensionRange
from g4v.export.engines.options import NO_OPTIONS, EngineOptions
from g4v.export.engines.tensorrt import ENGINES, build_engine
from g4v.export.errors import ExportError
from g4v.export.graph.dtype import FLOAT16
from g4v.export.graph.standard import StandardLowering

RTX = ENGINES["tensorrt-rtx"]
needs_tensorrt = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None,
    reason="needs tensorrt-rtx-cu13",
)


def layers(folder, stem="net.tensorrt-rtx"):
    """A graph of four products, [rows, 64] to the same."""
    generator = torch.Generator().manual_seed(1)
    with StandardLowering(FLOAT16).open(folder, stem) as ops:
        g = ops.g
        x = g.input("x", "float32", ["rows", 64])
        for _ in range(4):
            x = ops.quick_gelu(ops.matmul(x, torch.randn(64, 64, generator=generator) / 8))
        g.output("y", x, "float32", ["rows", 64])
        g.save()
    return stem


def context(path):
    (node,) = onnx.load(path).graph.node
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


@pytest.mark.parametrize(
    ("words", "targets", "message"),
    [
        (
            ["--compute-capability", "9.0"],
            ["tensorrt-rtx"],
            "9.0: one of 8.6, 8.9, 12.0, 12.1 for tensorrt-rtx",
        ),
        (["--compute-capability", "8.0+"], ["tensorrt-rtx"], "8.0.* needs --target tensorrt$"),
        (["--compute-capability", "8.9"], ["tensorrt"], "8.9 needs --target tensorrt-rtx"),
        (["--builder-optimization-level", "6"], ["tensorrt-rtx"], "must be from 0 to 5, not 6"),
        (["--builder-optimization-level", "1"], ["cuda"], "needs --target tensorrt-rtx or tensorrt"),
        (["--workspace", "0"], ["tensorrt-rtx"], "at least 1 .MiB., not 0"),
        (["--workspace", "64"], [], "--workspace is for engines"),
        (["--timing-cache", "t.bin"], ["tensorrt-rtx"], "needs --target tensorrt: TensorRT for RTX has none"),
        (["--timing-cache", "nowhere/t.bin"], ["tensorrt"], "no timing cache can be written there"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_what_does_not_fit_is_refused_in_one_line(
    run, tmp_path, capsys, monkeypatch, words, targets, message, dry
):
    monkeypatch.chdir(tmp_path)
    options = [word for target in targets for word in ("--target", target)] + ["--dry-run"] * dry
    assert main(["--checkpoint", str(run), "--out", "out", *options, *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    with pytest.raises(ExportError, match=message):
        raise ExportError(line)
    assert not list(tmp_path.iterdir())


def test_each_target_takes_its_own():
    options = EngineOptions.parse(["12.0", "8.9", "8.0+", "8.9"], 5, 256)
    options.check(["cpu", "tensorrt-rtx", "tensorrt"])
    assert options.capabilities_of("tensorrt-rtx") == ("8.9", "12.0")
    assert options.describe("tensorrt") == {
        "compute_capability": ["8.0+"],
        "builder_optimization_level": 5,
        "workspace_mib": 256,
    }
    assert NO_OPTIONS.describe("tensorrt-rtx") == {}
    # As TensorRT's configuration is told.
    limits = {}
    config = types.SimpleNamespace(set_memory_pool_limit=limits.__setitem__)
    trt = types.SimpleNamespace(
        HardwareCompatibilityLevel=types.SimpleNamespace(AMPERE_PLUS="ampere+"),
        MemoryPoolType=types.SimpleNamespace(WORKSPACE="workspace"),
    )
    options.apply(trt, config, "tensorrt")
    assert config.hardware_compatibility_level == "ampere+" and config.builder_optimization_level == 5
    assert limits == {"workspace": 256 * 2**20}


@pytest.mark.slow
@needs_tensorrt
def test_an_engine_for_named_gpus(run, tmp_path):
    options = EngineOptions.parse(["8.9", "12.0"], 0, 512)
    out = tmp_path / "out"
    export_bundle(run, out, targets=["tensorrt-rtx"], only=["abstractor"], engines=options)
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    assert manifest["provenance"]["engines"] == {
        "abstractor (tensorrt-rtx)": {
            "compute_capability": ["8.9", "12.0"],
            "builder_optimization_level": 0,
            "workspace_mib": 512,
        }
    }
    assert context(out / "abstractor.tensorrt-rtx.onnx")["hardware_architecture"] == b"89,120"
    # Another export of a part with other options replaces what is told of it.
    export_bundle(
        run,
        out,
        targets=["tensorrt-rtx"],
        only=["abstractor"],
        engines=EngineOptions.parse(["8.6"]),
        force=True,
    )
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    assert manifest["provenance"]["engines"] == {"abstractor (tensorrt-rtx)": {"compute_capability": ["8.6"]}}


@pytest.mark.slow
@needs_tensorrt
def test_the_library_builds_what_it_is_told(tmp_path):
    made = {}
    for words in ((), ("8.9",), ("12.0",)):
        stem = layers(tmp_path)
        build_engine(tmp_path, stem, {"rows": DimensionRange(1, 8, 64)}, RTX, EngineOptions.parse(words))
        made[words] = (tmp_path / f"{stem}.engine").read_bytes()
    assert len(set(made.values())) == 3  # by default for all of them
    stem = layers(tmp_path)
    with pytest.raises(ExportError, match="cannot build the engine: .*workspace"):
        build_engine(
            tmp_path, stem, {"rows": DimensionRange(1, 8, 64)}, RTX, EngineOptions.parse(workspace=1)
        )


class Timings:
    """TensorRT's timing cache, which TensorRT for RTX has no more."""

    def __init__(self, before):
        self.before, self.runs = before, []

    def serialize(self):
        return self.before + b"measured "


@needs_tensorrt
def test_a_timing_cache_is_read_and_written_anew(tmp_path, monkeypatch):
    """By the code that TensorRT is built with, with its cache in place of the one that RTX lacks."""
    import sys

    import tensorrt_rtx

    module = types.ModuleType("tensorrt")
    for name in dir(tensorrt_rtx):
        if not name.startswith("__"):
            setattr(module, name, getattr(tensorrt_rtx, name))
    module.__version__ = "10.13.3"
    attached = []

    class Config:
        def __init__(self, real):
            self.real = real

        def __getattr__(self, name):
            return getattr(self.real, name)

        def create_timing_cache(self, before):
            return None if before == b"of another GPU" else Timings(before)

        def set_timing_cache(self, cache, ignore_mismatch):
            attached.append((cache.before, ignore_mismatch))
            return True

    class Builder:
        def __init__(self, logger):
            self.real = tensorrt_rtx.Builder(logger)

        def __getattr__(self, name):
            return getattr(self.real, name)

        def create_builder_config(self):
            return Config(self.real.create_builder_config())

        def build_serialized_network(self, network, config):
            return self.real.build_serialized_network(network, config.real)

    module.Builder = Builder
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    cache = tmp_path / "timings.bin"
    options = EngineOptions.parse(timing_cache=str(cache))
    options.check(["tensorrt"])
    for _ in range(2):
        build_engine(
            tmp_path,
            layers(tmp_path, "net.tensorrt"),
            {"rows": DimensionRange(1, 8, 64)},
            ENGINES["tensorrt"],
            options,
        )
    assert attached == [(b"", False), (b"measured ", False)]
    assert cache.read_bytes() == b"measured measured "
    assert not list(tmp_path.glob("*.tmp"))
    cache.write_bytes(b"of another GPU")
    with pytest.raises(ExportError, match="timings.bin: is no timing cache of this GPU"):
        build_engine(
            tmp_path,
            layers(tmp_path, "net.tensorrt"),
            {"rows": DimensionRange(1, 8, 64)},
            ENGINES["tensorrt"],
            options,
        )
    # Where both targets are built, that of RTX goes without.
    before = len(attached)
    build_engine(tmp_path, layers(tmp_path), {"rows": DimensionRange(1, 8, 64)}, RTX, options)
    assert len(attached) == before
