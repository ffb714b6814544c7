"""mPLUG-Owl checkpoints and delta files of the real layouts, at small sizes, into training runs."""

import argparse
import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from g4v.model.abstractor import VideoAbstractor
from g4v.model.assistant import Gpt4Video
from g4v.model.bases import CheckpointError, convert_checkpoint, load_llm, load_tokenizer, load_vision
from g4v.model.bases.__main__ import main
from g4v.model.vision import MplugOwlVideoTower

from .base_checkpoints import CONFIG, Owl, is_video_only, lora_tensors, write_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def owl():
    return Owl()


@pytest.fixture(scope="module")
def source(owl, tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("owl") / "source", owl.public())


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    return convert_checkpoint(source, tmp_path_factory.mktemp("owl") / "run")


def same(module, again):
    first, second = module.state_dict(), again.state_dict()
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


@torch.no_grad()
def test_a_video_checkpoint_becomes_a_run(owl, run, source):
    assert {p.name for p in run.iterdir()} == {"encoder", "abstractor", "llm", "conversion.json"}
    encoder, abstractor = load_vision(run / "encoder"), VideoAbstractor.from_pretrained(run / "abstractor")
    assert encoder.flavour == "mplug-owl-video"
    assert encoder.config == owl.tower.config and abstractor.config == owl.abstractor.config
    llm = load_llm(run / "llm")
    same(owl.tower, encoder)
    same(owl.abstractor, abstractor)
    same(owl.llm, llm)
    assert len(list((run / "llm").glob("model-*-of-00003.safetensors"))) == 3
    pixels = torch.randn(1, 3, 3, 24, 24, dtype=torch.float64)
    direct = owl.abstractor.double()(owl.tower.double()(pixels))
    again = abstractor.double()(encoder.double()(pixels))
    owl.abstractor.float(), owl.tower.float()
    assert direct.shape == (1, 6, 32) and torch.equal(direct, again)
    ids = torch.tensor([[1, 5, 9]])
    assert torch.equal(owl.llm(ids).logits, llm(ids).logits)
    tokenizer = load_tokenizer(run / "llm")
    assert tokenizer.decode(tokenizer.encode("A circle.")) == "A circle."
    assert Gpt4Video.from_checkpoint(run).abstractor is not None


def test_the_same_source_again_does_nothing_and_another_is_refused(owl, source, run, tmp_path):
    before = {f: f.stat().st_mtime_ns for f in run.rglob("*")}
    assert convert_checkpoint(source, run) == run
    assert before == {f: f.stat().st_mtime_ns for f in run.rglob("*")}
    other = write_checkpoint(tmp_path / "other", {**owl.public(), "query_tokens": torch.zeros(1, 5, 24)})
    with pytest.raises(CheckpointError, match="conversion of something else"):
        convert_checkpoint(other, run)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(CheckpointError, match="not empty"):
        convert_checkpoint(source, tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"


@torch.no_grad()
def test_an_image_checkpoint_warns_and_its_temporal_path_is_the_identity(owl, tmp_path):
    images = {name: t for name, t in owl.public().items() if not is_video_only(name)}
    source = write_checkpoint(tmp_path / "source", images)
    with (
        pytest.warns(UserWarning, match="temporal path is the identity"),
        pytest.warns(UserWarning, match="temporal queries start at zero"),
    ):
        run = convert_checkpoint(source, tmp_path / "run")
    encoder, abstractor = load_vision(run / "encoder"), VideoAbstractor.from_pretrained(run / "abstractor")
    wanted = MplugOwlVideoTower(owl.tower.config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted.load_public(images)
    same(wanted, encoder)
    x = torch.randn(1, 3, 10, 24)
    assert torch.equal((x + encoder.encoder.layers[0].temporal(x))[:, :, 1:], x[:, :, 1:])
    one = torch.randn(1, 1, 3, 24, 24)  # with one frame nothing temporal takes part: equal to the original
    assert torch.equal(owl.abstractor(owl.tower(one)), abstractor(encoder(one)))
    assert not abstractor.temporal_visual_fc.weight.any()


def test_sizes_of_either_code_base_are_understood(tmp_path):
    """The image code takes the stated width as it is; the video code makes 256 of 384."""
    owl = Owl()
    source = write_checkpoint(tmp_path / "source", owl.public(), shards=1)
    config = json.loads(json.dumps(CONFIG))
    for stated in (256, 384):
        config["visual_abstractor_config"]["intermediate_size"] = stated
        (source / "config.json").write_text(json.dumps(config))
        run = convert_checkpoint(source, tmp_path / f"run{stated}")
        assert VideoAbstractor.from_pretrained(run / "abstractor").config.intermediate_size == 256
        assert (run / "llm" / "model.safetensors").exists()
    config["visual_abstractor_config"]["intermediate_size"] = 999
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="has shape"):
        convert_checkpoint(source, tmp_path / "never")


def test_safetensors_and_half_precision_and_old_pickles(owl, tmp_path):
    halves = {name: t.bfloat16() for name, t in owl.public().items()}
    folder = write_checkpoint(tmp_path / "a", halves)
    run = convert_checkpoint(folder, tmp_path / "run")
    assert load_file(run / "llm" / "model-00001-of-00003.safetensors").popitem()[1].dtype == torch.bfloat16
    assert torch.equal(
        load_vision(run / "encoder").post_layernorm.weight, owl.tower.post_layernorm.weight.bfloat16().float()
    )
    for file in folder.glob("pytorch_model*"):
        file.unlink()
    torch.save(halves, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    old = convert_checkpoint(folder, tmp_path / "old")
    (folder / "pytorch_model.bin").unlink()
    save_file(halves, folder / "model.safetensors")
    new = convert_checkpoint(folder, tmp_path / "new")
    for part in ("encoder", "abstractor"):
        one, two, three = (load_file(r / part / "model.safetensors") for r in (run, old, new))
        assert all(torch.equal(one[n], two[n]) and torch.equal(one[n], three[n]) for n in one)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lightning", "namespace"])
def test_a_delta_with_lora_factors_becomes_an_adapter(run, tmp_path, kind):
    peft = pytest.importorskip("peft")
    values = {"llm_r": 3, "llm_alpha": 6, "lora_dropout": 0.1, "devices": 2, "delta_file": None}
    if kind == "lightning":
        data = pytest.importorskip("lightning.fabric.utilities.data")
        options = data.AttributeDict(values)
    else:
        options = argparse.Namespace(**values)
    lora = lora_tensors()
    torch.save({"model": lora, "config": options, "epoch": 3, "step": 99}, tmp_path / "delta.pth")
    out = convert_checkpoint(tmp_path / "delta.pth", tmp_path / "out", base=run)
    assert {p.name for p in out.iterdir()} == {p.name for p in run.iterdir()} | {"adapter"}
    model = peft.PeftModel.from_pretrained(load_llm(run / "llm"), out / "adapter").merge_and_unload()
    plain = load_llm(run / "llm").state_dict()
    for name, weight in model.state_dict().items():
        wanted = plain[name].double()
        stem = f"model.base_model.model.language_model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.default.weight" in lora:
            a, b = (lora[f"{stem}.lora_{c}.default.weight"].double() for c in "AB")
            wanted = wanted + 2 * b @ a
        assert torch.allclose(weight.double(), wanted, rtol=0, atol=1e-5)
    again = convert_checkpoint(tmp_path / "delta.pth", tmp_path / "alone", llm=run / "llm")
    assert {p.name for p in again.iterdir()} == {"llm", "adapter", "conversion.json"}


def test_a_delta_with_the_abstractor_replaces_it(run, owl, tmp_path):
    other = Owl(seed=7)
    trained = {f"model.{n}": t for n, t in other.public().items() if not n.startswith(("vision", "language"))}
    torch.save({"model": trained, "config": {}, "epoch": 0, "step": 1}, tmp_path / "delta.pth")
    out = convert_checkpoint(tmp_path / "delta.pth", tmp_path / "out", base=run)
    same(other.abstractor, VideoAbstractor.from_pretrained(out / "abstractor"))
    same(owl.tower, load_vision(out / "encoder"))
    part = {n: t for n, t in trained.items() if n.startswith("model.abstractor.visual_fc")}
    torch.save({"model": part, "config": {}, "epoch": 0, "step": 1}, tmp_path / "part.pth")
    mixed = VideoAbstractor.from_pretrained(
        convert_checkpoint(tmp_path / "part.pth", tmp_path / "m", base=run) / "abstractor"
    )
    assert torch.equal(mixed.visual_fc.weight, other.abstractor.visual_fc.weight)
    assert torch.equal(mixed.query_tokens, owl.abstractor.query_tokens)


def test_deltas_that_cannot_be_used(run, tmp_path):
    delta = tmp_path / "delta.pth"

    def refuse(tensors, message, **options):
        torch.save({"model": tensors, "config": {"llm_r": 3}, "epoch": 0, "step": 1}, delta)
        with pytest.raises(CheckpointError, match=message) as caught:
            convert_checkpoint(delta, tmp_path / "out", **options)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()

    lora = lora_tensors()
    name = min(lora)
    refuse(lora, "no language model; give --llm DIR or --base RUN")
    refuse({}, "holds no tensor", base=run)
    refuse(lora_tensors(rank=4), "ranks", base=run)
    refuse({n: t for n, t in lora.items() if n != name}, "missing adapter tensor", base=run)
    refuse({**lora, name: torch.zeros(3, 31)}, "does not fit the LLM", base=run)
    refuse(
        {**lora, "model.strange.weight": torch.zeros(1)}, "unexpected tensor model.strange.weight", base=run
    )
    refuse({"model.query_tokens": torch.zeros(0)}, "partitioned run", base=run)
    refuse({**lora, "model.step": 3}, "not a tensor", base=run)
    torch.save({"state": {}}, delta)
    with pytest.raises(CheckpointError, match="'model' is missing"):
        convert_checkpoint(delta, tmp_path / "out", base=run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("vision_model.post_layernorm.bias"), "missing encoder tensor post_layernorm.bias"),
        (lambda t: t.pop("temporal_query_tokens"), "missing abstractor tensor temporal_query_tokens"),
        (lambda t: t.pop("language_model.lm_head.weight"), "missing llm tensor lm_head.weight"),
        (lambda t: t.update({"vision_model.x": torch.zeros(1)}), "unexpected encoder tensor x"),
        (lambda t: t.update({"strange.x": torch.zeros(1)}), "unexpected tensor strange.x"),
        (lambda t: t.update({"query_tokens": torch.zeros(1, 4, 24)}), r"query_tokens has shape \(1, 4, 24\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(owl, tmp_path, change, message):
    tensors = owl.public()
    change(tensors)
    source = write_checkpoint(tmp_path / "source", tensors)
    with pytest.raises(CheckpointError, match=message) as caught:
        convert_checkpoint(source, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]


class _Attack:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_a_malicious_pickle_is_refused_and_does_nothing(source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bad = Path(shutil.copytree(source, tmp_path / "bad"))
    shard = bad / "pytorch_model-00002-of-00003.bin"
    torch.save({"query_tokens": _Attack()}, shard)
    with pytest.raises(CheckpointError, match="only tensors are read from a pickle.*mkdir"):
        convert_checkpoint(bad, tmp_path / "run")
    torch.save({"model": {"model.query_tokens": _Attack()}}, tmp_path / "delta.pth")
    assert main(["convert", "delta.pth", "--out", "run"]) == 1
    error = capsys.readouterr().err
    assert "mkdir" in error and error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "delta.pth"]


def test_damaged_checkpoints(source, tmp_path, monkeypatch):
    def refuse(message):
        with pytest.raises(CheckpointError, match=message) as caught:
            convert_checkpoint(bad, tmp_path / "run")
        assert "\n" not in str(caught.value)

    bad = Path(shutil.copytree(source, tmp_path / "bad"))
    shard = bad / "pytorch_model-00002-of-00003.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    refuse("00002-of-00003.bin: damaged or truncated")
    shard.write_bytes(b"")
    refuse("00002-of-00003.bin: damaged or truncated")
    shard.unlink()
    refuse("no such file, but the index names it")
    torch.save([1, 2], shard)
    refuse("holds a list")
    shard.write_bytes(whole)
    index = bad / "pytorch_model.bin.index.json"
    text = index.read_text()
    index.write_text(text.replace("pytorch_model-00002", "../source/pytorch_model-00002"))
    refuse("not a plain file name")
    index.write_text("{")
    refuse("cannot be read")
    index.write_text(text)
    (bad / "config.json").write_text(json.dumps({**CONFIG, "text_config": {"model_type": "opt"}}))
    refuse("'opt' model")
    (bad / "config.json").write_text(json.dumps({**CONFIG, "model_type": "llava"}))
    refuse("'llava' checkpoint")
    (bad / "config.json").write_text(json.dumps(CONFIG))
    (bad / "tokenizer.json").unlink()
    refuse("no tokenizer.json")
    with pytest.raises(CheckpointError, match="no such file"):
        convert_checkpoint(tmp_path / "nothing", tmp_path / "run")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CheckpointError, match="the conversion needs"):
        convert_checkpoint(source, tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad"]


def test_a_failure_while_writing_leaves_nothing(source, tmp_path, monkeypatch):
    from g4v.model.bases import conversion

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion, "save_file", full)
    with pytest.raises(CheckpointError, match="No space left"):
        convert_checkpoint(source, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_the_command(source, tmp_path, capsys):
    assert main(["convert", str(source), "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run")
    assert main(["convert", str(source / "nothing"), "--out", str(tmp_path / "x")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
