"""Text-to-video models with a video transformer for GPUs, as far as can be told without one: TensorRT for RTX
reads the graphs of all parts and builds engines, and the CUDA provider has a kernel for every node.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest

from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.graph.cuda_kernels import check_kernels
from g4v.export.graph.onnx_file import OnnxFile

from ...ltx_folder import write_ltx
from ...wan_folder import write_wan

FOLDERS: dict[str, tuple[Callable[[Path], Path], Overrides]] = {
    "wan": (write_wan, Overrides(frames=5, video_size=(32, 48))),
    "ltx": (write_ltx, Overrides(frames=9, video_size=(64, 96))),
}
PARTS = ("text_encoder", "transformer", "vae_decoder")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="needs tensorrt-rtx-cu13")
@pytest.mark.parametrize("name", FOLDERS)
def test_engines_and_cuda_graphs(name: str, tmp_path: Path) -> None:
    write, sizes = FOLDERS[name]
    folder, out = write(tmp_path / "model"), tmp_path / "bundle"
    overrides = Overrides(t2v=str(folder), frames=sizes.frames, video_size=sizes.video_size)
    export_bundle(None, out, targets=["cuda", "tensorrt-rtx"], overrides=overrides)
    components = json.loads((out / "g4v.json").read_text("utf-8"))["components"]
    assert set(components) == set(PARTS)
    for part in PARTS:
        graph, engine = components[part]["variants"]
        assert [(v["target"], v["precision"]) for v in (graph, engine)] == [
            ("cuda", "fp16"),
            ("tensorrt-rtx", "fp16"),
        ]
        check_kernels(OnnxFile(out / graph["graph"]))
        (node,) = onnx.load(out / engine["graph"]).graph.node
        assert node.op_type == "EPContext"
        for least, usual, most in engine["profile"].values():
            assert 0 < least <= usual <= most
        # All that can be told of an engine without a GPU: it holds the weights.
        weights = (out / f"{part}.cuda.data").stat().st_size
        assert (out / engine["files"][1]).stat().st_size > 0.8 * weights
