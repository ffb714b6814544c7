"""`python -m g4v.train.pack`: a run's trained parts, rounded to float16, beside parts of another."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("lightning", reason="needs the train extra")

from g4v.train.pack import main  # noqa: E402


@pytest.fixture
def run(tmp_path):
    run = tmp_path / "run"
    for part, name in (("abstractor", "model"), ("adapter", "adapter_model")):
        (run / part).mkdir(parents=True)
        save_file({"w": torch.randn(4, 3), "n": torch.arange(3)}, run / part / f"{name}.safetensors")
        (run / part / "config.json").write_text("{}")
    (run / "work" / "stage2").mkdir(parents=True)
    (run / "work" / "stage2" / "curves.png").write_bytes(b"png")
    (run / "g4v_train.json").write_text(json.dumps({"name": "x", "provenance": {"stage2": {"steps": 3}}}))
    (tmp_path / "other" / "encoder").mkdir(parents=True)
    return run


def test_a_packed_run(run, tmp_path, capsys):
    out = tmp_path / "packed"
    words = [str(run), "--out", str(out), "--llm", "SomeLM", "--command", "how", "--about-data", "what"]
    assert main([*words, "--part", "encoder=../other/encoder"]) == 0
    size = json.loads(capsys.readouterr().out)["bytes"]
    assert size == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    for part, name in (("abstractor", "model"), ("adapter", "adapter_model")):
        before, after = (load_file(f / part / f"{name}.safetensors") for f in (run, out))
        assert torch.equal(after["w"], before["w"].half()) and torch.equal(after["n"], before["n"])
        assert (out / part / "config.json").exists()
    assert (out / "curves" / "stage2.png").read_bytes() == b"png"
    about = json.loads((out / "g4v_train.json").read_text("utf-8"))
    assert about["parts"] == {"encoder": "../other/encoder"}
    assert about["provenance"] == {"command": "how", "data": "what", "llm": "SomeLM", "stage2": {"steps": 3}}
    first = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main([*words, "--part", "encoder=../other/encoder"]) == 0
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first


def test_what_cannot_be_packed(run, tmp_path, capsys):
    out = tmp_path / "packed"
    words = [str(run), "--out", str(out), "--llm", "SomeLM"]
    for more, message in (
        (["--part", "encoder"], "write PART=FOLDER"),
        (["--part", "llm=../other/encoder"], "is none of encoder, frame_checker, t2v"),
        (["--part", "encoder=../nowhere"], "no such folder"),
    ):
        assert main([*words, *more]) == 1
        assert message in capsys.readouterr().err
    save_file({"w": torch.full((2,), 1e6)}, run / "adapter" / "adapter_model.safetensors")
    assert main(words) == 1
    assert "w is too large for float16" in capsys.readouterr().err
    (run / "adapter" / "adapter_model.safetensors").unlink()
    (run / "adapter" / "config.json").unlink()
    (run / "adapter").rmdir()
    assert main(words) == 1
    assert "the run is not finished" in capsys.readouterr().err
    assert not out.exists()
