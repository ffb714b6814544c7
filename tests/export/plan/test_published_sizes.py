"""Estimates of published video language models from their configuration, without weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.precision import parse_precisions
from g4v.export.errors import ExportError
from g4v.export.plan.export_estimate import ExportEstimate, estimate_export

from ... import llava_checkpoint as llava
from ... import smolvlm_checkpoint as smol
from ... import vlm_sizes

KINDS = (*llava.KINDS, "smolvlm")


def estimates(folder: Path, precision: str = "fp32") -> dict[str, ExportEstimate]:
    found = estimate_export(Checkpoint.open(folder, weights=False), parse_precisions(precision))
    return {estimate.name: estimate for estimate in found}


def parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", vlm_sizes.NAMES)
def test_at_the_real_sizes(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers of weights are those of transformers' own modules, but for layers that no video needs."""
    import transformers

    config = vlm_sizes.write(tmp_path / name, name)
    with torch.device("meta"):
        whole = getattr(transformers, config.architectures[0])(config)
    language = getattr(whole.model, "text_model", None) or whole.model.language_model
    if name.startswith("Smol"):
        tower, connector, unused = whole.model.vision_model, whole.model.connector, 0
    else:
        tower = getattr(whole.model, "video_tower", None) or whole.model.vision_tower
        connector = whole.model.multi_modal_projector
        unused = parameters(tower.encoder.layers[-1])  # vision_feature_layer is -2
    found = estimates(tmp_path / name)
    assert found["encoder"].weights == parameters(tower) - unused
    assert found["abstractor"].weights == parameters(connector)
    assert found["decoder"].weights == parameters(language) + parameters(whole.lm_head)
    words = [
        "--base",
        str(tmp_path / name),
        "--out",
        str(tmp_path / "out"),
        "--precision",
        "int4",
        "--dry-run",
    ]
    main(words)  # 1 where this machine is too small for it
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["encoder", "abstractor", "decoder"]
    assert any(line.startswith("time of a run on this CPU: first token about a video") for line in lines)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_small_one_against_its_export(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    smol.make(folder) if kind == "smolvlm" else llava.make(folder, kind)
    with_weights = estimates(folder)
    export_bundle(folder, tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "g4v.json").read_text("utf-8"))
    (folder / "model.safetensors").unlink()
    found = estimates(folder)
    assert {name: (e.weights, e.disk, e.peak) for name, e in found.items()} == {
        name: (e.weights, e.disk, e.peak) for name, e in with_weights.items()
    }
    sizes = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    for name, component in manifest["components"].items():
        (variant,) = component["variants"]
        written = sum(sizes[file] for file in variant["files"] if not file.endswith(".onnx"))
        written += sizes["embedding.bin"] if name == "decoder" else 0
        assert 0.8 * written < found[name].disk < 1.35 * written, name


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_needs_the_weights(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    smol.make(folder) if kind == "smolvlm" else llava.make(folder, kind)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ExportError, match=r"no model\.safetensors"):
        export_bundle(folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
