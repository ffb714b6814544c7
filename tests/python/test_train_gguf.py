"""Stage 2 on a language model that is a GGUF file, and the bundle that comes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

pytest.importorskip("lightning", reason="needs the train extra")

from g4v.export.bundle.export import export_bundle  # noqa: E402
from g4v.export.bundle.verify import verify_bundle  # noqa: E402
from g4v.export.checkpoint.overrides import Overrides  # noqa: E402
from g4v.model.bases import load_llm, load_tokenizer  # noqa: E402
from g4v.train.command import main  # noqa: E402
from gguf_files import write_gguf  # noqa: E402

from . import training_bases as made  # noqa: E402


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    """A file whose every weight float16 holds, as the run keeps them."""
    folder = tmp_path_factory.mktemp("llm")
    made.write_tokenizer(folder)
    size = len(json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"])
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{**made.LLAMA.to_dict(), "vocab_size": size})).half()
    model.float().save_pretrained(folder)
    return write_gguf(folder, folder / "model.gguf")


@pytest.mark.slow
def test_a_run_on_a_gguf_file(gguf, tmp_path):
    data, out = made.write_data(tmp_path / "data", rows=3), tmp_path / "run"
    base = made.write_base(tmp_path / "base")
    words = made.options(base, data, out, llm=gguf, max_epochs=1)
    config = made.config_file(tmp_path)
    assert main([*words, "--config", str(config)]) == 0
    kept, source = load_llm(out / "llm"), load_llm(gguf)
    for name, weight in source.state_dict().items():
        assert torch.equal(kept.state_dict()[name], weight), name
    text = "What moves here?"
    assert load_tokenizer(out / "llm").encode(text) == load_tokenizer(gguf).encode(text)

    export_bundle(out, tmp_path / "bundle")
    assert verify_bundle(out, tmp_path / "bundle", overrides=Overrides(llm=str(gguf)))["decoder"] < 1e-4


def test_the_estimate_takes_the_sizes_of_the_file(gguf, capsys):
    """Not those of the preset, which are of another model."""
    words = ["stage2", "--preset", "small", "--llm", str(gguf), "--dry-run", "--device-tflops", "1"]
    # The preset's own parts are in a clone alone, which an installation is not.
    tiny = Path(__file__).parents[2] / "python" / "g4v" / "checkpoints" / "tiny"
    for part in ("encoder", "t2v", "frame_checker"):
        words += [f"--{part.replace('_', '-')}", str(tiny / part)]
    assert main([*words, "--max-length", "128"]) == 0
    text = capsys.readouterr().out
    assert "stage2: 0.00" in text, text  # billions of parameters; those of the preset are 0.137
