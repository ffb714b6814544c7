"""Published video language models for GPUs, as far as can be told without one: their graphs of standard
operators are right, TensorRT for RTX reads them and builds engines, and the CUDA provider has a kernel for
every node of the CUDA graphs.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import pytest

import g4v
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.catalog import components_of
from g4v.export.components.precision import parse_precisions
from g4v.export.graph.cuda_kernels import check_kernels
from g4v.export.graph.dtype import FLOAT16, FLOAT32
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.graph.standard import StandardLowering

from ... import llava_checkpoint as llava
from ... import smolvlm_checkpoint as smol

KINDS = ("smolvlm", *llava.KINDS, "llava_next_video, conv", "llava_next_video, max, two layers")
PARTS = ("encoder", "abstractor")


@pytest.fixture(scope="module", params=KINDS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    kind = request.param
    if kind == "smolvlm":
        smol.make(folder, seed=5)
    elif kind in llava.KINDS:
        llava.make(folder, kind, seed=5)
    else:
        changes: dict[str, Any] = {"spatial_pool_mode": kind.split(", ")[1]}
        if kind.endswith("two layers"):
            changes["vision_feature_layer"] = [-1, -2]
        llava.make(folder, llava.NEXT_VIDEO, seed=5, **changes)
    return folder


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize(("dtype", "most"), [(FLOAT32, 1e-5), (FLOAT16, 1e-2)], ids=["fp32", "fp16"])
def test_standard_operators_come_to_the_right_numbers(
    checkpoint: Path, tmp_path: Path, name: str, dtype: Any, most: float
) -> None:
    """What TensorRT is given: no operator but ONNX's own, valid, and equal to PyTorch in float64."""
    found = components_of(Checkpoint.open(checkpoint), parse_precisions(()))
    (component,) = (component for component in found if component.name == name)
    module = component.load()
    component.build(module, tmp_path, name, StandardLowering(dtype))
    path = tmp_path / f"{name}.onnx"
    assert {node.domain for node in onnx.load(path, load_external_data=False).graph.node} == {""}
    onnx.checker.check_model(str(path), full_check=True)
    error = component.verify(module, tmp_path, name)
    assert error < most
    assert dtype is FLOAT32 or error > 1e-5  # it really was float16


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="needs tensorrt-rtx-cu13")
def test_tensorrt_builds_engines(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    export_bundle(checkpoint, out, targets=["cpu", "tensorrt-rtx"])
    components = json.loads((out / "g4v.json").read_text("utf-8"))["components"]
    for name in PARTS:
        plain, engine = components[name]["variants"]
        assert (plain["target"], engine["target"], engine["precision"]) == ("cpu", "tensorrt-rtx", "fp16")
        (node,) = onnx.load(out / engine["graph"]).graph.node
        assert node.op_type == "EPContext"
        assert engine["profile"].keys() == {"frames"}
        least, usual, most = engine["profile"]["frames"]
        assert least == 1 <= usual <= most
        # All that can be told of an engine without a GPU: it holds the weights, in half of their bytes.
        weights = (out / f"{name}.data").stat().st_size
        assert (out / engine["files"][1]).stat().st_size > 0.4 * weights
    assert [variant["target"] for variant in components["decoder"]["variants"]] == ["cpu"]
    # The CPU goes on to answer with what is for it.
    assistant = g4v.load(out, device="cpu", threads=1)
    assert assistant.chat().ask("What?", smol.film(3), max_new_tokens=2).new_tokens > 0


@pytest.mark.slow
def test_the_cuda_provider_has_kernels_for_every_node(checkpoint: Path, tmp_path: Path) -> None:
    """Of the decoder in 4 bits, too. On the CPU the same graphs come to the right numbers in float16."""
    out = tmp_path / "bundle"
    export_bundle(checkpoint, out, precision=["int4"], targets=["cpu", "cuda"], calibration="none")
    components = json.loads((out / "g4v.json").read_text("utf-8"))["components"]
    for name in (*PARTS, "decoder"):
        (variant,) = [v for v in components[name]["variants"] if v["target"] == "cuda"]
        assert variant["precision"] == ("int4" if name == "decoder" else "fp16")
        check_kernels(OnnxFile(out / variant["graph"]))
    errors = verify_bundle(checkpoint, out)
    assert set(errors) == {f"{name}{end}" for name in components for end in ("", " (cuda)")}
    assert all(1e-6 < errors[f"{name} (cuda)"] < 1e-2 for name in PARTS), errors
