"""The comparison of the runtime with PyTorch, on the embedded assistant and on a run that is not its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from g4v.shapes.eval import parity
from g4v.shapes.eval.command import main

CHECKPOINT = Path(__file__).parents[2] / "python" / "g4v" / "checkpoints" / "tiny"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The embedded assistant's run with a language model whose last norm has wrong signs."""
    run = tmp_path / "run"
    shutil.copytree(CHECKPOINT, run)
    path = run / "llm" / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][::2] *= -1
    save_file(weights, path, metadata={"format": "pt"})
    return run


@pytest.mark.slow
def test_the_embedded_assistant_is_exact(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    arguments = ["--only", "greedy,components", "--checkpoint", str(CHECKPOINT), "--n", "3"]
    assert main([*arguments, "--require", "--json", str(figures)]) == 0
    values = json.loads(figures.read_text())
    rows = {row["name"]: row for row in values["figures"]}
    assert rows["conversations with PyTorch's greedy tokens"]["count"] == 3
    assert len([name for name in rows if "float64" in name]) == 7
    assert values["details"]["greedy"] == {"different": []}


@pytest.mark.slow
def test_another_run_differs(other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import g4v

    rate, different = parity.greedy(g4v.load(), other, 4, seed=0)
    assert rate.total == 4 and rate.right < 4
    assert set(different[0]) == {"user", "said", "wanted"}
    assert main(["--only", "components", "--checkpoint", str(other)]) == 1
    assert "decoder: the graph differs from PyTorch" in capsys.readouterr().err


def test_tokenizers_of_the_run() -> None:
    rates, different = parity.tokenizers(CHECKPOINT, 200, seed=1)
    assert different == []
    assert {name: rate.value for name, rate in rates.items()} == {"decoder": 1.0, "text_encoder": 1.0}


def test_a_checkpoint_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--only", "greedy"])
    assert stop.value.code == 2
    assert "--checkpoint" in capsys.readouterr().err


def test_a_missing_library_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = parity.importlib.util.find_spec
    monkeypatch.setattr(
        parity.importlib.util, "find_spec", lambda name: None if name == "peft" else find(name)
    )
    assert main(["--only", "components", "--checkpoint", str(CHECKPOINT)]) == 1
    assert "peft is missing" in capsys.readouterr().err
