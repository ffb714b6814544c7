"""`python -m g4v.train tiny`: its two stages are trained by the one trainer with the preset `tiny`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("lightning", reason="needs the train extra")

from g4v import _core  # noqa: E402
from g4v.export.bundle.export import export_bundle  # noqa: E402
from g4v.shapes.recipe import films, tiny, tiny_stages  # noqa: E402
from g4v.shapes.recipe.parts import LATER, PARTS  # noqa: E402
from g4v.shapes.recipe.tiny_language import LANGUAGE_RECIPES  # noqa: E402
from g4v.shapes.recipe.tiny_text_to_video import TEXT_TO_VIDEO_RECIPES, VAE_RECIPES  # noqa: E402
from g4v.shapes.recipe.tiny_vision import VISION_RECIPES  # noqa: E402
from g4v.train import checkpoint, run  # noqa: E402
from g4v.train.__main__ import main  # noqa: E402
from g4v.train.configuration import load_settings  # noqa: E402
from g4v.train.fingerprints import fingerprint_folder  # noqa: E402

from .talking import ask, load, text_of  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = Path(__file__).parents[2] / "python" / "g4v" / "checkpoints" / "tiny"
FROZEN = ("encoder", "llm", "t2v", "frame_checker")


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """The preset's settings but for the rows of a step."""

    def load_small(stage, preset, config, given):
        return load_settings(stage, preset, config, {"batch_size": 2, **given})

    monkeypatch.setattr(tiny_stages, "load_settings", load_small)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """OUT as the parts before the stages leave it."""
    out = tmp_path_factory.mktemp("bases")
    for part in FROZEN:
        shutil.copytree(TINY / part, out / part)
    return out


@pytest.fixture
def out(bases, tmp_path):
    return Path(shutil.copytree(bases, tmp_path / "run"))


def train(out: Path, *words: str) -> int:
    return main(["tiny", "--out", str(out), "--no-progress", *words])


def weights(out: Path, stage: str) -> dict[str, torch.Tensor]:
    part = {"stage1": "abstractor/model", "stage2": "adapter/adapter_model"}[stage]
    return load_file(out / f"{part}.safetensors")


@pytest.mark.slow
def test_both_stages_go_through_the_trainer_and_are_exported(out, tmp_path, monkeypatch):
    stages = []
    real = run.run_stage

    def run_stage(settings, stage):
        stages.append(stage)
        return real(settings, stage)

    monkeypatch.setattr(tiny_stages, "run_stage", run_stage)
    assert train(out, "--part", "stage1", "--part", "stage2", "--steps", "2") == 0
    assert stages == ["stage1", "stage2"]
    names = {"abstractor", "adapter", "encoder", "llm", "t2v", "frame_checker", "g4v_train.json", "work"}
    assert {path.name for path in out.iterdir()} == names
    for stage, dtype in (("stage1", torch.float16), ("stage2", torch.float32)):
        assert {tensor.dtype for tensor in weights(out, stage).values()} == {dtype}
        assert checkpoint.load_step(checkpoint.find_checkpoint(out / "work" / stage)) == 2

    about = json.loads((out / "g4v_train.json").read_text("utf-8"))
    before = json.loads((TINY / "g4v_train.json").read_text("utf-8"))
    assert {k: v for k, v in about.items() if k != "provenance"} == {
        k: v for k, v in before.items() if k != "provenance"
    }
    parts = about["provenance"]["parts"]
    assert [part for part in parts if part in before["provenance"]["parts"]] == list(
        before["provenance"]["parts"]
    )
    assert parts["stage1"] == {"steps_done": 2, "steps_planned": 54400 // 2}
    assert about["provenance"]["stage2"]["steps"] == 2

    export_bundle(out, tmp_path / "bundle")
    chat = load(tmp_path / "bundle").chat(text_options=_core.TextOptions(max_new_tokens=4))
    assert text_of(ask(chat, "Hello!"))


@pytest.mark.slow
def test_the_encoder_learns_films_and_keeps_what_it_says_of_shapes(out):
    """Steps of a high rate lower the loss of the answers; without the hold, tokens of shapes change more."""
    for part in ("abstractor", "adapter"):
        shutil.copytree(TINY / part, out / part)
        (out / part / "trained_on.json").write_text(
            json.dumps({"encoder": fingerprint_folder(out / "encoder")})
        )
    (out / "adapter" / "trained_on.json").write_text(json.dumps({"llm": "another", "encoder": "older"}))
    before = load_file(out / "encoder" / "model.safetensors")
    assert train(out, "--part", "encoder-films", "--steps", "2") == 0
    after = load_file(out / "encoder" / "model.safetensors")
    assert set(after) == set(before) and any(not torch.equal(after[n], before[n]) for n in before)
    assert {tensor.dtype for tensor in after.values()} == {torch.float16}
    origin = [json.loads((out / part / "trained_on.json").read_text()) for part in ("abstractor", "adapter")]
    assert origin[0] == {"encoder": fingerprint_folder(out / "encoder")}
    assert origin[1] == {"llm": "another", "encoder": "older"}

    changes = []
    for keep in (0.0, films.KEEP):
        part = tiny.FILMS_RECIPES["encoder-films"].build(out)
        part.films, part.clips = 2, 2
        batch = part.batch(np.random.default_rng(3))
        optimizer = torch.optim.Adam(part.model.parameters(), 1e-3)
        figures = []
        for _ in range(12):
            loss, found = part.loss(batch, keep)
            figures.append(found)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert all(parameter.grad is None for parameter in part.assistant.parameters())
        assert figures[0]["change"] == 0 and (keep or figures[-1]["answers"] < 0.7 * figures[0]["answers"])
        changes.append(figures[-1]["change"])
    assert changes[1] < 0.5 * changes[0]


def test_plain_words_go_on_from_the_base_model(out):
    part = LANGUAGE_RECIPES["base-words"].build(out)
    saved = load_file(out / "llm" / "model.safetensors")
    for name, tensor in saved.items():
        assert torch.equal(part.model.state_dict()[name], tensor.float()), name
    drawn = [part.document(np.random.default_rng([1, i])) for i in range(40)]
    assert [ids for ids, _ in drawn] == [part.document(np.random.default_rng([1, i]))[0] for i in range(40)]
    assert all(len(ids) == len(weights) <= 320 and max(ids) < 1536 for ids, weights in drawn)


@pytest.mark.slow
def test_the_part_of_plain_words_changes_the_language_model(out):
    before = load_file(out / "llm" / "model.safetensors")
    assert train(out, "--part", "base-words", "--steps", "1") == 0
    after = load_file(out / "llm" / "model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    kept, saved = (json.loads((f / "llm" / "tokenizer.json").read_text("utf-8")) for f in (TINY, out))
    assert kept["model"] == saved["model"]
    about = json.loads((out / "g4v_train.json").read_text("utf-8"))
    assert about["provenance"]["parts"]["base-words"]["steps_done"] == 1


@pytest.mark.slow
def test_a_stopped_stage_goes_on_and_ends_in_the_same_weights(bases, tmp_path, capsys):
    """Muon, the moving averages and the order of rows all follow from the checkpoint."""
    ends = []
    for name, starts in (("whole", [[]]), ("parts", [["--minutes", "1e-9"], []])):
        out = Path(shutil.copytree(bases, tmp_path / name))
        for words in starts:
            assert train(out, "--part", "stage1", "--steps", "3", *words) == 0
        ends.append(weights(out, "stage1"))
    assert capsys.readouterr().err == "stage1: stopped by --minutes; give the same command again to go on\n"
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_what_is_missing_and_what_is_old_is_told(out, capsys):
    assert train(out, "--part", "stage2", "--steps", "1") == 1
    assert f"{out / 'abstractor'} is missing: train the parts before this one first" in one_line(capsys)
    last = out / "work" / "stage1" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.write_bytes(b"")
    assert train(out, "--part", "stage1", "--steps", "1") == 1
    assert f"{last} was written by an earlier version" in one_line(capsys)
    assert train(out, "--steps", "0") == 1
    assert "--steps must be above 0, not 0" in one_line(capsys)


def one_line(capsys) -> str:
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    return text


def test_parts_and_their_order():
    """Each has a recipe or is a stage of the trainer, but for the cache; the groups train in their order."""
    assert PARTS == (
        *VAE_RECIPES,
        *VISION_RECIPES,
        "latents",
        *TEXT_TO_VIDEO_RECIPES,
        *LANGUAGE_RECIPES,
        *tiny_stages.STAGES,
    )
    assert set(tiny.RECIPES) == {*PARTS, *LATER} - {"latents"} - set(tiny_stages.STAGES)


def test_help_needs_no_pytorch():
    """Nor what else the training imports, which takes seconds."""
    code = """
import sys
from g4v.shapes.recipe.command import build_parser
build_parser().format_help()
heavy = {"torch", "lightning", "transformers", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_preset_is_what_the_weights_were_trained_with():
    one, two = (load_settings(stage, "tiny", None, {}) for stage in ("stage1", "stage2"))
    assert (one.optimizer, one.ema, one.learning_rate, one.seed) == ("muon", 0.99, 1e-3, 5)
    assert (two.optimizer, two.ema, two.learning_rate, two.seed) == ("adam", None, 2e-3, 6)
    for settings in (one, two):
        assert (settings.warmup, settings.cooldown, settings.gamma) == (100, 0.5, 1.0)
        assert settings.opening_weights == {"Yes": 5.0, "No": 5.0} and settings.longer_clips == 0.4
        assert (settings.lora_r, settings.lora_targets) == (16, ("q_proj", "v_proj"))
        assert not settings.mixture  # the stage's own
    assert run.count_steps(one, 54400, 1) == 3400 and run.count_steps(two, 40800, 1) == 2550
