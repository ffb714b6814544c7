"""How a run ends before its time: numbers that are not finite, a full disk, rows that are to stop it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning", reason="needs the train extra")

from g4v.train import checkpoint, loggers, module, run  # noqa: E402
from g4v.train.command import main  # noqa: E402

from . import training_bases as made  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Stage 1 of a second or two; OUT is added by the test."""
    base = made.write_base(tmp_path_factory.mktemp("base") / "base")
    data = made.write_data(tmp_path_factory.mktemp("data"))
    config = made.config_file(tmp_path_factory.mktemp("config"))

    def options(out: Path, **changes: object) -> list[str]:
        return ["stage1", *made.options(base, data, out, **changes), "--config", str(config)]

    return options


def spoil(monkeypatch, step: int, how) -> None:
    """Changes the losses [labels] of one step."""
    real = module.StageModule._token_losses

    def losses(self, batch):
        values, rows, extra = real(self, batch)
        if batch["step"] == step:
            values = how(values)
        return values, rows, extra

    monkeypatch.setattr(module.StageModule, "_token_losses", losses)


def no_gradient(losses: torch.Tensor) -> torch.Tensor:
    """The same numbers, whose gradient is not finite."""
    return losses + (losses - losses.detach()).abs().sqrt()


def saved_step(out: Path) -> int:
    return checkpoint.load_step(checkpoint.find_checkpoint(out / "work" / "stage1"))


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_spoilt(
    words, tmp_path, monkeypatch, capsys
):
    spoil(monkeypatch, 2, no_gradient)
    assert main(words(tmp_path / "run", checkpoint_every=1)) == 1
    text = capsys.readouterr().err
    assert "step 3: the gradient is not finite on" in text and text.count("data.json, line") == 2
    assert text.endswith("the last good checkpoint is of step 2\n") and text.count("\n") == 1
    assert saved_step(tmp_path / "run") == 2


def test_weights_that_are_not_finite_are_not_saved(words, tmp_path, monkeypatch, capsys):
    """A learning rate beyond float32 spoils them in a step whose loss and gradient are sound."""
    real = torch.optim.AdamW.step

    def step(self, closure=None):
        loss = real(self, closure)
        if next(iter(self.state.values()))["step"] == 3:
            self.param_groups[0]["params"][0].data[0] = float("inf")
        return loss

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    assert main(words(tmp_path / "run", checkpoint_every=1)) == 1
    text = capsys.readouterr().err
    assert "step 3: abstractor." in text and "is not finite; the last good checkpoint is of step 2" in text
    assert saved_step(tmp_path / "run") == 2


_PATCHED = """
import errno, os, sys
from g4v.train import checkpoint
from g4v.train import module

def spoil_second():
    real = module.StageModule._token_losses
    def losses(self, batch):
        values, rows, extra = real(self, batch)
        return values * float("nan") if self.trainer.global_rank == 1 else values, rows, extra
    module.StageModule._token_losses = losses

def full_disk():
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    checkpoint.write_json = full

globals()[os.environ["PATCH"]]()
from g4v.train.__main__ import main
sys.exit(main())
"""


def run_two(patch: str, words: list[str], folder: Path) -> tuple[int, list[str]]:
    """Exit code and what was said, by line, of the command on two processes; patch: what goes wrong."""
    script = folder / "patched.py"
    script.write_text(_PATCHED)
    done = subprocess.run(
        [sys.executable, script, *made.overridden(words, "--devices", "2")],
        env=os.environ | {"PATCH": patch, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.returncode, [line for line in done.stderr.splitlines() if "Initializing" not in line]


class TestTwoProcesses:
    @pytest.mark.slow
    def test_one_that_meets_nan_stops_both_and_one_line_says_so(self, words, tmp_path):
        code, lines = run_two("spoil_second", words(tmp_path / "run"), tmp_path)
        assert code == 1 and len(lines) == 1, lines
        assert "step 1: the loss is NaN on" in lines[0]
        assert lines[0].count("data.json, line") == 2  # the two rows of the other process

    @pytest.mark.slow
    def test_a_checkpoint_that_cannot_be_written_stops_both(self, words, tmp_path):
        code, lines = run_two("full_disk", words(tmp_path / "run", checkpoint_every=1), tmp_path)
        assert code == 1 and len(lines) == 1, lines
        assert "No space left" in lines[0] and "no earlier checkpoint" in lines[0]


@pytest.mark.parametrize("logger", ["TableLog", pytest.param("TensorBoardLog", marks=pytest.mark.slow)])
def test_a_log_that_cannot_be_written_does_not_end_the_run(logger, words, tmp_path, monkeypatch, capsys):
    kind = getattr(loggers, logger).__mro__[2]

    def full(self, *arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kind, "log_metrics", full)
    monkeypatch.setattr(kind, "save", full)
    assert main(words(tmp_path / "run")) == 0
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "log cannot be written" in text and "No space left" in text
    assert (tmp_path / "run" / "abstractor" / "model.safetensors").exists()


def test_a_disk_that_is_full_at_the_end_is_one_line(words, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run, "draw_curves", full)
    assert main(words(tmp_path / "run", max_epochs=1)) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "No space left" in text


@pytest.mark.parametrize("cached", [False, True])
def test_a_clip_that_cannot_be_read_stops_where_that_is_asked(cached, words, tmp_path, capsys):
    data = made.write_data(tmp_path / "data", 3)
    (data.parent / "1.mp4").unlink()
    more = {"feature_cache": tmp_path / "cache"} if cached else {}
    out = tmp_path / "run"
    base = made.write_base(tmp_path / "base")
    command = ["stage1", *made.options(base, data, out, **more), "--config", str(made.config_file(tmp_path))]
    assert main([*command, "--on-error", "stop"]) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "data.json, line 3: the video" in text and "1.mp4 is missing" in text
    assert not (out / "abstractor").exists()
