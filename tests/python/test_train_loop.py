"""The training loop: a run that was stopped and resumed equals an unbroken one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="needs the train extra")

from g4v.shapes.recipe.loop import LoopSettings, Part, run  # noqa: E402


class Regression(Part):
    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))

    def batch(self, rng):
        x = torch.from_numpy(rng.standard_normal((16, 4), dtype=np.float32))
        return x, x.sum(-1, keepdim=True)

    def loss(self, batch):
        x, y = batch
        error = (self.model(x) - y).square().mean()
        return error, {"noise": float(torch.rand(()))}


def _train(folder, **changes):
    torch.manual_seed(0)
    part = Regression()
    options = {"steps": 40, "learning_rate": 1e-2, "warmup": 5, "ema": 0.9, "checkpoint_every": 10}
    done = run(part, "regression", folder, LoopSettings(**(options | {"seed": 3} | changes)), progress=False)
    return part, done


@pytest.mark.slow
def test_resumed_equals_unbroken(tmp_path):
    whole, done = _train(tmp_path / "whole")
    assert done
    stopped, done = _train(tmp_path / "parts", minutes=1e-9)  # ends after its first step
    assert not done
    resumed, done = _train(tmp_path / "parts")
    assert done
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(tmp_path):
    first, _ = _train(tmp_path)
    again, done = _train(tmp_path)
    assert done
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_and_draws_its_curves(tmp_path):
    part, _ = _train(tmp_path)
    x = torch.randn(64, 4)
    after = (part.best_model().eval()(x) - x.sum(-1, keepdim=True)).square().mean()
    assert after < x.sum(-1).square().mean()
    assert (tmp_path / "curves.png").stat().st_size > 1000
