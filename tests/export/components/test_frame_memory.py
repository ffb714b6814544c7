"""The abstractor in two graphs, so that a video that goes on costs its new frames alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import g4v
from g4v import _core
from g4v._runtime import onnxruntime_directories
from g4v.export.bundle.manifest import FORMAT, FORMAT_VERSION
from g4v.export.components.abstractor import export_abstractor
from g4v.export.components.lowerings import INT8
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Lowering
from g4v.export.graph.standard import StandardLowering
from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig

CONFIG = AbstractorConfig(64, 3, 2, 96, 7, 7, 64, 36)
TOKENS = 10


def write_bundle(folder: Path, lowering: Lowering = CPU, **changes: object) -> VideoAbstractor:
    """A bundle of nothing but an abstractor. changes: of its variant in the manifest."""
    torch.manual_seed(3)
    abstractor = VideoAbstractor(CONFIG).eval()
    for parameter in abstractor.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    files = export_abstractor(abstractor, folder, lowering=lowering)
    variant = {"target": "cpu", "precision": "fp32", "graph": files[0], "files": files}
    if len(files) > 2:
        variant["memory_graph"] = files[2]
    variant.update(changes)
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": "abstractor",
        "assistant": "g4v",
        "description": "",
        "created_by": "a test",
        "files": {
            file: {
                "bytes": (folder / file).stat().st_size,
                "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest(),
            }
            for file in files
        },
        "components": {
            "abstractor": {
                "hidden_size": 64,
                "output_tokens": CONFIG.output_tokens,
                "output_size": 36,
                "variants": [{k: v for k, v in variant.items() if v is not None}],
            }
        },
        "tokenizers": {},
        "generation": {},
        "licences": [],
        "provenance": {},
    }
    (folder / "g4v.json").write_text(json.dumps(manifest))
    return abstractor


def load(folder: Path, frames: int = 8) -> _core.testing.BundleAbstractor:
    return _core.testing.BundleAbstractor(str(folder), frames, 1, library_dirs=onnxruntime_directories())


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def test_there_are_two_graphs(tmp_path: Path) -> None:
    torch.manual_seed(3)
    abstractor = VideoAbstractor(CONFIG).eval()
    names = ["abstractor.onnx", "abstractor.data", "abstractor_memory.onnx", "abstractor_memory.data"]
    assert export_abstractor(abstractor, tmp_path) == names
    memory = onnx.load(tmp_path / names[2], load_external_data=False)
    assert sum(node.op_type == "MatMul" for node in memory.graph.node) == 1
    assert export_abstractor(abstractor, tmp_path, "engine", StandardLowering()) == [
        "engine.onnx",
        "engine.data",
    ]


@pytest.mark.parametrize("lowering", [CPU, INT8], ids=["fp32", "int8"])
@torch.no_grad()
def test_a_video_that_goes_on_costs_its_new_frames(tmp_path: Path, lowering: Lowering) -> None:
    abstractor = write_bundle(tmp_path, lowering).double()
    features = torch.randn(12, TOKENS, 64) * 2
    kept = load(tmp_path)
    assert kept.keeps_frames
    # Grows to its ninth frame, slides, goes back, repeats frames, is one frame alone.
    videos = [[0], [0, 1], [*range(8)], [*range(9)], [*range(1, 10)], [0, 1, 2], [11, 3, 3, 3, 11], [5]]
    held: set[int] = set()
    for video in videos:
        given = features[video]
        tokens, fresh = kept.run(given.numpy(), video)
        assert fresh == len(set(video) - held)
        held = set(video)
        expected = abstractor(given[None].double())[0].numpy()
        assert relative_error(tokens, expected) < (1e-5 if lowering is CPU else 5e-2)
        alone, fresh = load(tmp_path).run(given.numpy(), video)
        assert fresh == len(set(video))
        # The same but for the order of sums.
        assert relative_error(tokens, alone) < 1e-5


def test_a_bundle_whose_graphs_do_not_fit_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path, memory_graph=None)
    with pytest.raises(g4v.BundleError, match="reads 'memory', which no graph of this bundle makes"):
        load(tmp_path)
    narrow = tmp_path / "narrow"
    narrow.mkdir()
    torch.manual_seed(3)
    export_abstractor(VideoAbstractor(AbstractorConfig(64, 2, 2, 96, 7, 7, 64, 36)).eval(), narrow)
    write_bundle(tmp_path)
    about = json.loads((tmp_path / "g4v.json").read_text())
    for name in ("abstractor_memory.onnx", "abstractor_memory.data"):
        data = (narrow / name).read_bytes()
        (tmp_path / name).write_bytes(data)
        about["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / "g4v.json").write_text(json.dumps(about))
    with pytest.raises(g4v.BundleError, match="two graphs do not fit together"):
        load(tmp_path)


def test_the_manifest_names_the_graph_for_an_abstractor_alone(tmp_path: Path) -> None:
    write_bundle(tmp_path, memory_graph="nowhere.onnx")
    with pytest.raises(g4v.BundleError, match="nowhere.onnx"):
        load(tmp_path)
