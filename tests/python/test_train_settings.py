"""What the settings of the optimiser, the loss and the result do; all of them are off by default."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

pytest.importorskip("lightning", reason="needs the train extra")

from g4v.data.worlds import world  # noqa: E402
from g4v.model.prompt import IGNORED, PromptTemplate, PromptTurn  # noqa: E402
from g4v.train import checkpoint  # noqa: E402
from g4v.train.average import WeightAverage  # noqa: E402
from g4v.train.batch_sampler import MicroBatch  # noqa: E402
from g4v.train.clips import WorldClip  # noqa: E402
from g4v.train.command import main  # noqa: E402
from g4v.train.configuration import load_settings  # noqa: E402
from g4v.train.datasets import Row, Rows, WorldRows  # noqa: E402
from g4v.train.errors import TrainingError  # noqa: E402
from g4v.train.muon import Muon  # noqa: E402
from g4v.train.optimizer import learning_rate_factor, stage_optimizer  # noqa: E402
from g4v.train.outputs import to_half  # noqa: E402
from g4v.train.rows import RowBatches, RowEncoder  # noqa: E402
from g4v.train.settings import Settings  # noqa: E402
from g4v.train.strategies import build_strategy  # noqa: E402
from g4v.video import sample_frames  # noqa: E402

from . import training_bases as made  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


class TestOptimizer:
    def model(self):
        return nn.Sequential(nn.Linear(20, 24), nn.LayerNorm(24), nn.Linear(24, 4))

    def groups(self, **values):
        model = self.model()
        optimizer = stage_optimizer(model, Settings(**values))
        names = {id(p): name for name, p in model.named_parameters()}
        groups = [({names[id(p)] for p in g["params"]}, g["weight_decay"]) for g in optimizer.param_groups]
        return optimizer, groups

    def test_the_default_is_adam_with_one_group(self):
        optimizer, groups = self.groups()
        assert len(groups) == 1 and len(groups[0][0]) == 6 and groups[0][1] == 0
        assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
        one, other = self.model(), self.model()
        other.load_state_dict(one.state_dict())
        plain = torch.optim.Adam(other.parameters(), lr=1e-4)
        for model, stepped in ((one, stage_optimizer(one, Settings())), (other, plain)):
            for step in range(3):
                stepped.zero_grad()
                model(
                    torch.randn(5, 20, generator=torch.Generator().manual_seed(step))
                ).square().sum().backward()
                stepped.step()
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

    def test_vectors_are_not_decayed(self):
        optimizer, groups = self.groups(weight_decay=0.1, adam_beta2=0.98)
        assert groups[0] == ({"0.weight", "2.weight"}, 0.1) and groups[1][1] == 0
        assert optimizer.param_groups[1]["betas"] == (0.9, 0.98)

    def test_muon_steps_matrices_of_some_size(self):
        optimizer, groups = self.groups(optimizer="muon", weight_decay=0.1)
        assert isinstance(optimizer, Muon)
        assert groups[:2] == [({"0.weight"}, 0.1), ({"2.weight"}, 0.1)]
        assert [group["matrices"] for group in optimizer.param_groups] == [True, False, False]

    def test_warm_up_epochs_and_cool_down(self):
        settings = Settings(warmup=4, gamma=0.5, cooldown=0.5)
        factors = [learning_rate_factor(settings, step, 8, 4) for step in range(9)]
        assert factors == [0.25, 0.5, 0.75, 1, 0.5, 0.375, 0.25, 0.125, 0]
        assert learning_rate_factor(Settings(gamma=1.0), 3, 8, 4) == 1

    @pytest.mark.parametrize("values", [{"optimizer": "muon"}, {"weight_decay": 0.1}, {"ema": 0.9}])
    @pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
    def test_what_needs_whole_tensors(self, values, strategy):
        with pytest.raises(TrainingError, match=f"needs whole tensors, which {strategy} splits; use ddp"):
            build_strategy(Settings(strategy=strategy, **values))


def test_a_moving_average_forgets_the_start():
    average = WeightAverage(0.5)
    values = [torch.tensor([float(step)]) for step in range(1, 6)]
    expected = values[0]
    average.update({"w": values[0]}, 1)
    for step, value in enumerate(values[1:], 2):
        average.update({"w": value}, step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * value
    torch.testing.assert_close(average.on_host()["w"], expected)
    assert values[0].item() == 1  # weights are read only


def encode(text, first_segment=True):
    return [ord(c) for c in text]


class TestOpeningWeights:
    template = PromptTemplate(turn_end_id=2, bos_id=1, system="S")

    def batches(self, weights):
        """An answer starts with a space, which is the token that is weighed."""
        rows = [
            Row((PromptTurn("Q", "ab"), PromptTurn("R", "c d")), (), "one"),
            Row((PromptTurn("Q", "e"),), (), "two"),
        ]
        encoder = RowEncoder(self.template, encode, 0, 200, "assistant", weights)
        return RowBatches(Rows((rows,)), encoder, None, None)

    def test_the_first_token_of_each_answer_is_weighed(self):
        batch = self.batches({ord(" "): 5.0})[MicroBatch(0, 0, (0, 1), (0, 1))]
        counted = batch["labels"] != IGNORED
        assert ((batch["weights"] > 0) == counted).all()
        for ids, weights in zip(batch["ids"], batch["weights"], strict=True):
            answers = "".join(f"{chr(i)}{int(w)}" for i, w in zip(ids, weights, strict=True) if w)
            assert answers.replace("\x02", ".") in (" 5a1b1.1 5c1 1d1.1", " 5e1.1")
        # Labels: " ab", the end, " c d", the end; " e", the end.
        assert batch["step_weight"] == (5 + 2 + 1) + (5 + 3 + 1) + (5 + 1 + 1)

    def test_without_them_a_batch_has_no_weights(self):
        batch = self.batches({})[MicroBatch(0, 0, (0,), (0, 1))]
        assert "weights" not in batch and batch["step_weight"] == 4 + 5 + 3

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("opening_weights: {Yes: 5}", "opening_weights: True is not a word; write words in quotes"),
            ('opening_weights: {"Yes": 0}', "the weight of Yes must be above 0 and finite, not 0"),
            ('opening_weights: {"Yes": 5}\nsupervise: both', "opening_weights need supervise: assistant"),
        ],
    )
    def test_what_they_cannot_be(self, text, message, tmp_path):
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        with pytest.raises(TrainingError, match=message):
            load_settings("stage1", None, path, {})


def test_longer_clips_are_sampled_by_the_runtimes_rule():
    rows = WorldRows("shapes", 4, 0, {"describe": 1.0}, longer_clips=1.0)
    clip = rows[2].clips[0]
    assert isinstance(clip, WorldClip) and clip.longer == 1.0
    rng = np.random.default_rng(clip.seed)
    assert rng.random() < 1
    count = int(rng.integers(9, 40))
    film = world("shapes").render(clip.scene, rng, count)
    np.testing.assert_array_equal(clip.read(8), film[sample_frames(count, 8)])
    short = WorldRows("shapes", 4, 0, {"describe": 1.0})[2].clips[0]
    np.testing.assert_array_equal(
        short.read(8), world("shapes").render(clip.scene, np.random.default_rng(clip.seed), 8)
    )
    assert short.key() != clip.key()


@pytest.mark.parametrize(
    "values",
    [{"ema": 1.0}, {"adam_beta2": 1.0}, {"weight_decay": -1.0}, {"warmup": -1}, {"longer_clips": 1.5},
     {"minutes": 0.0}, {"optimizer": "sgd"}, {"result_dtype": "int8"}],
)  # fmt: skip
def test_values_out_of_range(values):
    with pytest.raises(TrainingError, match=next(iter(values))):
        Settings(**values)


def test_weights_beyond_float16_are_refused(tmp_path):
    assert to_half({"w": torch.ones(2), "n": torch.arange(2)}, tmp_path)["w"].dtype == torch.float16
    with pytest.raises(TrainingError, match="w is too large for float16"):
        to_half({"w": torch.full((2,), 1e6)}, tmp_path)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    base = made.write_base(tmp_path_factory.mktemp("base") / "base")
    data = made.write_data(tmp_path_factory.mktemp("data"))
    config = made.config_file(tmp_path_factory.mktemp("config"))

    def options(out, **changes):
        return [*made.options(base, data, out, **changes), "--config", str(config)]

    return options


class TestRun:
    def state(self, out):
        return checkpoint.load_checkpoint(checkpoint.find_checkpoint(out / "work" / "stage1"))

    def test_the_average_is_the_result(self, words, tmp_path):
        more = {"ema": 0.5, "optimizer": "muon", "weight_decay": 0.1, "warmup": 2, "max_steps": 3}
        assert main(["stage1", *words(tmp_path / "run", **more, result_dtype="float16")]) == 0
        state, result = self.state(tmp_path / "run"), load_file(tmp_path / "run/abstractor/model.safetensors")
        assert state.average.keys() == state.weights.keys()
        changed = 0
        for name, tensor in result.items():
            average = state.average[f"abstractor.{name}"]
            assert torch.equal(tensor, average.half())
            changed += not torch.equal(average, state.weights[f"abstractor.{name}"])
        assert changed == len(result)
        # A run that goes on has to have the same settings.
        assert {"ema", "optimizer", "weight_decay", "warmup"} < set(state.about["config"])

    @pytest.mark.slow
    def test_runs_from_before_these_settings_go_on(self, words, tmp_path):
        """They are recorded only where they are not the default."""
        assert main(["stage1", *words(tmp_path / "run", max_steps=1)]) == 0
        config = self.state(tmp_path / "run").about["config"]
        assert set(config) == {
            "data", "split", "frames", "max_length", "supervise", "learning_rate", "gamma", "cooldown",
            "gradient_clip", "seed", "lora_r", "lora_alpha", "lora_dropout", "lora_targets", "rows",
            "rows_per_step", "bases", "stage",
        }  # fmt: skip

    @pytest.mark.slow
    def test_a_run_that_is_out_of_time_stops_and_goes_on(self, words, tmp_path, capsys):
        out = tmp_path / "run"
        assert main(words(out, minutes=1e-9)) == 0
        text = capsys.readouterr().err
        assert text == "stage1: stopped by --minutes; give the same command with --resume to go on\n"
        assert self.state(out).step == 1 and not (out / "adapter").exists()
        about = json.loads((out / "g4v_train.json").read_text("utf-8"))
        assert about["provenance"]["stage1"]["steps"] == 1
        assert main(words(out, resume=True, minutes=10)) == 0
        assert self.state(out).step == 8 and (out / "adapter").exists()
