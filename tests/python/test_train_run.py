"""The trainer of stage 1 and stage 2: what it writes, how it resumes, what it refuses."""

from __future__ import annotations

import csv
import json
import resource
import shutil
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

pytest.importorskip("lightning", reason="needs the train extra")

from g4v.train import checkpoint  # noqa: E402
from g4v.train.command import main  # noqa: E402

from . import training_bases as made  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return made.write_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return made.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return made.config_file(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def trained(base, data, config, tmp_path_factory):
    """Both stages by one command."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main([*made.options(base, data, out), "--config", str(config)]) == 0
    return out


def losses(out: Path, stage: str) -> list[float]:
    found = losses_by_step(out, stage)
    return [found[step] for step in sorted(found)]


def losses_by_step(out: Path, stage: str) -> dict[int, float]:
    found = {}
    for path in sorted((out / "work" / stage / "csv").glob("*/metrics.csv")):
        with path.open() as rows:
            found |= {int(r["step"]): float(r["loss"]) for r in csv.DictReader(rows) if r["loss"]}
    return found


def weights(out: Path, stage: str = "stage1") -> dict[str, torch.Tensor]:
    name = "abstractor/model.safetensors" if stage == "stage1" else "adapter/adapter_model.safetensors"
    return load_file(out / name)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


class TestResult:
    def test_both_stages_learn(self, trained):
        for stage in ("stage1", "stage2"):
            assert len(losses(trained, stage)) == 2 * 4  # 7 rows in steps of 2, twice
            assert losses(trained, stage)[-1] < losses(trained, stage)[0]

    def test_only_what_was_trained_is_saved(self, trained, base):
        assert {p.name for p in trained.iterdir()} == {
            "abstractor", "adapter", "encoder", "llm", "g4v_train.json", "work",
        }  # fmt: skip
        assert (trained / "llm").resolve() == (base / "llm").resolve()
        assert not [p for p in trained.rglob("*") if p.suffix in (".pt", ".ckpt", ".bin", ".pth")]
        saved = checkpoint.load_checkpoint(checkpoint.find_checkpoint(trained / "work" / "stage2"))
        assert saved.weights and all("lora_" in name for name in saved.weights)
        assert set(saved.optimizer) == {f"model.{name}" for name in saved.weights}

    def test_an_adapter_gets_factors_for_more_layers(self, trained, data, config, tmp_path):
        out = tmp_path / "wider"
        # A rate of nearly nothing leaves the old factors as they are, and shows how the new ones begin.
        words = made.options(trained, data, out, adapter=trained / "adapter", learning_rate=1e-12)
        words += ["--config", str(config), "--lora_targets", "down_proj", "--lora_targets", "q_proj"]
        assert main(["stage2", *words]) == 0
        settings = json.loads((out / "adapter" / "adapter_config.json").read_text())
        assert set(settings["target_modules"]) == {"q_proj", "v_proj", "down_proj"}
        before = load_file(trained / "adapter" / "adapter_model.safetensors")
        after = load_file(out / "adapter" / "adapter_model.safetensors")
        new = {name for name in after if name not in before}
        assert new and all("down_proj" in name for name in new)
        for name in before:
            torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0)
        for name in new:
            assert after[name].abs().max() < 1e-6 if "lora_B" in name else after[name].abs().max() > 0

        again = tmp_path / "again"  # the default adds no layer to an adapter that has others
        settings["target_modules"] = ["down_proj"]
        (out / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
        kept = {name: tensor for name, tensor in after.items() if name in new}
        save_file(kept, out / "adapter" / "adapter_model.safetensors")
        words = made.options(trained, data, again, adapter=out / "adapter", learning_rate=1e-12)
        assert main(["stage2", *words, "--config", str(config)]) == 0
        assert set(load_file(again / "adapter" / "adapter_model.safetensors")) == new

    def test_peft_loads_the_adapter(self, trained, base):
        from peft import PeftModel
        from transformers import LlamaForCausalLM

        llm = LlamaForCausalLM.from_pretrained(trained / "llm")
        ids = torch.tensor([[1, 5, 6]])
        before = llm(ids).logits.detach()
        adapted = PeftModel.from_pretrained(llm, trained / "adapter")
        factors = {n.replace(".default", ""): p for n, p in adapted.named_parameters() if "lora_" in n}
        assert same({n: p.detach() for n, p in factors.items()}, weights(trained, "stage2"))
        assert not torch.equal(adapted(ids).logits, before)

    def test_the_exporter_reads_the_run(self, trained):
        from g4v.export.checkpoint.run import Checkpoint

        run = Checkpoint.open(trained)
        assert run.abstractor().config.output_size == made.LLAMA.hidden_size
        assert run.llm() and run.encoder() and run.prompt.system == "S"


class TestStart:
    def test_an_abstractor_of_another_language_model_keeps_what_it_sees(
        self, trained, base, data, config, tmp_path, capsys
    ):
        wider = LlamaConfig(**{**made.LLAMA.to_dict(), "hidden_size": 48, "head_dim": 24})
        LlamaForCausalLM(wider).save_pretrained(tmp_path / "llm")
        made.write_tokenizer(tmp_path / "llm")
        words = ["--config", str(config), "--llm", str(tmp_path / "llm"), "--max-steps", "1"]
        words += ["--learning_rate", "1e-9", "--abstractor", str(trained / "abstractor")]
        start = made.options(base, data, tmp_path / "two")
        assert main(["stage2", *made.overridden(start, *words)]) == 1
        assert "belongs to another language model: its width is 32, not 48" in one_line(capsys)
        start = made.options(base, data, tmp_path / "one")
        assert main(["stage1", *made.overridden(start, *words)]) == 0
        old, new = weights(trained), weights(tmp_path / "one")
        changed = {name for name in old if old[name].shape != new[name].shape}
        assert changed == {
            "visual_fc.weight", "visual_fc.bias", "temporal_visual_fc.weight", "temporal_visual_fc.bias",
            "vit_eos",
        }  # fmt: skip
        for name in set(old) - changed:
            torch.testing.assert_close(new[name], old[name], rtol=0, atol=1e-7)

    @pytest.mark.slow
    def test_the_learning_rate_falls_to_zero(self, base, data, config, tmp_path):
        out = tmp_path / "run"
        words = ["stage1", *made.options(base, data, out), "--config", str(config), "--gamma", "1"]
        assert main([*words, "--cooldown", "0.5"]) == 0
        found = {}
        for path in sorted((out / "work" / "stage1" / "csv").glob("*/metrics.csv")):
            with path.open() as rows:
                found |= {int(r["step"]): float(r["learning_rate"]) for r in csv.DictReader(rows)}
        rates = [found[step] / found[0] for step in sorted(found)]
        assert rates == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


class TestResume:
    @pytest.mark.parametrize("stage", [pytest.param("stage1", marks=pytest.mark.slow), "stage2"])
    def test_a_killed_run_ends_in_the_same_weights(
        self, stage, trained, base, data, config, tmp_path, monkeypatch
    ):
        """Stage 2 draws dropout, so its random numbers must follow from the step alone."""
        out = tmp_path / "run"
        words = [stage, *made.options(base, data, out, checkpoint_every=3), "--config", str(config)]
        if stage == "stage2":
            words += ["--abstractor", str(trained / "abstractor")]
        save = checkpoint.save_checkpoint

        def die(folder, state):
            path = save(folder, state)
            if state.step == 3:
                raise KeyboardInterrupt  # as Ctrl-C in the middle of the second epoch's first pass
            return path

        monkeypatch.setattr("g4v.train.module.save_checkpoint", die)
        assert main(words) == 130
        monkeypatch.undo()
        assert not (out / "abstractor").exists()
        assert main([*words, "--resume"]) == 0
        assert same(weights(out, stage), weights(trained, stage))
        # The line of the step in which it was killed may be lost, no other.
        logged, whole = losses_by_step(out, stage), losses_by_step(trained, stage)
        assert set(whole) - set(logged) <= {2} and logged.items() <= whole.items()
        assert (out / "work" / stage / "curves.png").stat().st_size > 1000

    @pytest.mark.slow
    def test_a_finished_run_is_left_alone(self, trained, base, data, config):
        before = weights(trained, "stage2")
        words = [*made.options(base, data, trained), "--config", str(config)]
        assert main([*words, "--resume"]) == 0
        assert same(weights(trained, "stage2"), before)
        assert len(losses(trained, "stage2")) == 8

    def test_other_settings_and_a_missing_resume_are_refused(self, trained, base, data, config, capsys):
        words = ["stage1", *made.options(base, data, trained), "--config", str(config)]
        assert main(words) == 1
        assert "give --resume" in capsys.readouterr().err
        assert main([*words, "--resume", "--gamma", "0.5"]) == 1
        assert "written with gamma 0.85, this run has 0.5" in one_line(capsys)


def one_line(capsys) -> str:
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    return text


def _one_of_two(rank: int, port: int, nodes: int, words: list[str]) -> None:
    """A process as torchrun starts it: both on one machine, or (as far as they know) on two."""
    import os

    node, local = (rank, 0) if nodes == 2 else (0, rank)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(local), WORLD_SIZE="2", LOCAL_WORLD_SIZE=str(2 // nodes),
        GROUP_RANK=str(node), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="test",
    )  # fmt: skip
    torch.set_num_threads(1)
    assert main(words) == 0


class TestTwoProcesses:
    @pytest.mark.slow
    @pytest.mark.parametrize(("stage", "nodes"), [("stage1", 1), ("stage2", 1), ("stage1", 2)])
    def test_equal_one_process_with_the_batch_doubled(
        self, stage, nodes, trained, base, data, config, tmp_path
    ):
        """7 rows in steps of 4: the last step has less than two full batches. Without dropout, whose numbers
        differ by process."""
        common = [stage, "--config", str(config), "--lora_dropout", "0", "--abstractor"]
        common += [str(trained / "abstractor")]
        one, two = tmp_path / "one", tmp_path / "two"
        assert main([*common, *made.options(base, data, one, batch_size=4)]) == 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        share = {"devices": 2 // nodes, "num_nodes": nodes, "strategy": "ddp"}
        words = [*common, *made.options(base, data, two, **share)]
        torch.multiprocessing.start_processes(
            _one_of_two, (port, nodes, words), nprocs=2, start_method="fork"
        )
        assert len(losses(one, stage)) == 4
        assert losses(two, stage) == pytest.approx(losses(one, stage), rel=1e-5)
        for name, tensor in weights(one, stage).items():
            torch.testing.assert_close(weights(two, stage)[name], tensor, rtol=1e-3, atol=1e-5)

    @pytest.mark.slow
    def test_passes_of_one_step_equal_one_pass(self, trained, base, data, config, tmp_path):
        common = ["stage1", "--config", str(config), "--abstractor", str(trained / "abstractor")]
        one, many = tmp_path / "one", tmp_path / "many"
        assert main([*common, *made.options(base, data, one, batch_size=4)]) == 0
        changes = {"batch_size": 1, "accumulate_grad_batches": 4, "gradient_checkpointing": True}
        assert main([*common, *made.options(base, data, many, **changes)]) == 0
        assert losses(many, "stage1") == pytest.approx(losses(one, "stage1"), rel=1e-5)


class TestRefusals:
    def test_nan_names_the_step_and_the_rows(self, trained, base, data, config, tmp_path, capsys):
        broken = tmp_path / "abstractor"
        shutil.copytree(trained / "abstractor", broken)
        tensors = load_file(broken / "model.safetensors")
        tensors["vit_eos"][:] = float("nan")
        save_file(tensors, broken / "model.safetensors", {"format": "pt"})
        words = ["stage1", *made.options(base, data, tmp_path / "run"), "--config", str(config)]
        assert main([*words, "--abstractor", str(broken)]) == 1
        text = one_line(capsys)
        assert "step 1: the loss is NaN on" in text and f"{data}, line" in text

    def test_a_full_disk_keeps_the_last_good_checkpoint(
        self, base, data, config, tmp_path, capsys, monkeypatch
    ):
        out = tmp_path / "run"
        words = ["stage1", *made.options(base, data, out, checkpoint_every=2), "--config", str(config)]
        save = checkpoint.save_checkpoint
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)

        def fill_up(folder, state):
            if state.step == 4:  # from now on the system refuses to write more than this into a file
                resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
            return save(folder, state)

        monkeypatch.setattr("g4v.train.module.save_checkpoint", fill_up)
        try:
            assert main(words) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        text = one_line(capsys)
        assert "cannot be written" in text and "last good checkpoint is" in text
        last = checkpoint.find_checkpoint(out / "work" / "stage1")
        assert checkpoint.load_checkpoint(last).step == 2
        assert [p.name for p in last.parent.iterdir() if "step" in p.name] == [last.name]

    def test_an_adapter_of_another_base(self, trained, data, config, tmp_path, capsys):
        other = made.write_base(tmp_path / "other", seed=1)
        words = made.options(other, data, tmp_path / "run", adapter=trained / "adapter")
        words += ["--config", str(config), "--abstractor", str(trained / "abstractor")]
        assert main(["stage2", *words]) == 1
        assert "was trained on another" in one_line(capsys)
        copy = tmp_path / "adapter"
        shutil.copytree(trained / "adapter", copy)
        (copy / "trained_on.json").unlink()  # as of somebody else's adapter: shapes alone tell
        tensors = load_file(copy / "adapter_model.safetensors")
        name = next(n for n in tensors if "lora_A" in n)
        save_file({**tensors, name: torch.zeros(2, 7)}, copy / "adapter_model.safetensors")
        words = made.options(trained, data, tmp_path / "run2", adapter=copy)
        assert main(["stage2", *words, "--config", str(config)]) == 1
        assert "belongs to another model" in one_line(capsys)

    def test_an_adapter_for_layers_that_are_not_there(self, trained, data, config, tmp_path, capsys):
        words = made.options(trained, data, tmp_path / "run", adapter=trained / "adapter")
        assert main(["stage2", *words, "--config", str(config), "--lora_targets", "qkv"]) == 1
        assert "the language model has no qkv" in one_line(capsys)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--strategy", "deepspeed"], "needs the package deepspeed"),
            (["--strategy", "fsdp"], "needs GPUs"),
            (["--devices", "many"], "devices must be a number"),
            (["--max_epochs", "0"], "max_epochs must be above 0 and finite"),
            (["--llm", "no/such/folder"], "no such file"),
            (["--max_length", "600"], "exceeds the language model's 512 positions"),
            (["--data", "missing.json"], "does not exist"),
            (["--config", "missing.yaml"], "no such file"),
            (["--precision", "7"], "precision must be one of auto, 16"),
            (["--accelerator", "abacus"], "accelerator abacus, devices 1"),
            (["--devices", "3,4"], "devices 3,4"),
            (["--learning_rate", "inf"], "must be above 0 and finite"),
        ],
    )
    def test_one_line_each(self, words, message, base, data, config, tmp_path, capsys):
        if words[0] == "--strategy" and (words[1] == "fsdp" and torch.cuda.is_available()):
            pytest.skip("there are GPUs")
        common = made.options(base, data, tmp_path / "run")
        if "--config" not in words:
            common += ["--config", str(config)]
        if words[0] == "--data":
            common = [w for w in common if w not in ("--data", str(data))]
        assert main(["stage1", *made.overridden(common, *words)]) == 1
        assert message in one_line(capsys)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("speed: 3", "unknown setting 'speed'"),
            ("batch_size: many", "batch_size must be of type int"),
            ("stage1: 5", "stage1 is not a mapping"),
            ("- a", "is not a mapping of settings"),
            ("a: [", "cannot be read"),
            ("batch_size: 2\nbatch_size: 3", "batch_size stands twice"),
            ("data: [5]", "data must be of type list"),
            ("lora_targets: {q_proj: 1}", "lora_targets must be of type list"),
            ("licences: [Apache]", "licences must be of type list"),
        ],
    )
    def test_configuration_files(self, text, message, base, data, tmp_path, capsys):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        assert main(["stage1", *made.options(base, data, tmp_path / "run"), "--config", str(path)]) == 1
        text = one_line(capsys)
        assert message in text and "bad.yaml" in text

    @pytest.mark.parametrize("option", ["--llm", "--encoder"])
    def test_a_pickle_is_refused_with_the_way_to_convert_it(
        self, option, base, data, config, tmp_path, capsys
    ):
        torch.save({"a": torch.zeros(2)}, tmp_path / "old.pt")
        words = ["stage1", *made.options(base, data, tmp_path / "run"), "--config", str(config)]
        assert main([*words, option, str(tmp_path / "old.pt")]) == 1
        text = one_line(capsys)
        assert "old.pt: is a pickle" in text and "python -m g4v.model.bases convert" in text

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"sizes": "huge"}, "sizes must be one of tiny"),
            ({"prompt": {"speed": 1}}, "prompt: unknown key 'speed'"),
            ({"prompt": {"turn_end_id": "x"}}, "turn_end_id must be the number of a token, not 'x'"),
            ({"prompt": {"stop": "Human:"}}, "stop must be a list of texts"),
            ({"prompt": {"system": None}}, "system must be a text"),
            ({"prompt": {"special_tokens": {"<s>": "1"}}}, "must be the numbers of tokens by their texts"),
            ({"prompt": {"stop_ids": 2}}, "stop_ids must be a list of numbers of tokens"),
            ({"prompt": {"space_after_special": 1}}, "space_after_special must be true or false"),
        ],
    )
    def test_values_that_only_the_run_can_judge(self, values, message, base, data, tmp_path, capsys):
        words = ["stage1", *made.options(base, data, tmp_path / "run")]
        assert main([*words, "--config", str(made.config_file(tmp_path, **values))]) == 1
        assert message in one_line(capsys)


def test_settings_come_in_their_order(tmp_path):
    from g4v.train.configuration import load_settings

    path = tmp_path / "c.yaml"
    path.write_text("learning_rate: 1e-3\nbatch_size: 3\ndevices: 2\nstage2: {batch_size: 5}\n")
    one = load_settings("stage1", "gpt4video-7b", path, {"seed": 4})
    two = load_settings("stage2", "gpt4video-7b", path, {"seed": 4})
    assert (one.learning_rate, one.batch_size, two.batch_size, one.seed) == (1e-3, 3, 5, 4)
    assert one.devices == "2" and one.accumulate_grad_batches == 4 and one.max_length == 512
    for preset in ("tiny", "small", "gpt4video-7b"):
        assert load_settings("stage1", preset, path, {}).name.startswith(preset)


def test_tiny_is_still_another_command(capsys):
    from g4v.train.__main__ import find_recipe

    assert find_recipe(["tiny", "--out", "x"]) and find_recipe(["--out", "x", "tiny"])
    assert find_recipe(["--no-progress", "tiny"])
    assert not find_recipe(["--preset", "tiny"]) and not find_recipe(["--devices", "2"])


def test_a_run_reads_as_json(trained):
    about = json.loads((trained / "g4v_train.json").read_text())
    assert about["provenance"]["stage1"]["steps"] == 8 and about["frames"] == 8
