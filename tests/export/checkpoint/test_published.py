"""From public downloads to an assistant in one command: published layouts, through a stand-in for the hub."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import g4v
from g4v.export.__main__ import main
from g4v.export.bundle.tokenizers import check_vocabularies
from g4v.export.checkpoint.mixing import same_model
from g4v.export.checkpoint.overrides import Overrides, read_system
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError
from g4v.model.bases import convert_checkpoint, load_llm, load_tokenizer, load_vision, mplug_owl
from g4v.model.bases.vision import load_abstractor
from g4v.model.prompt_presets import preset_template, teaching_system
from gguf_files import write_gguf
from hub_server import serve_hub
from published import LLAMA, OWL, ZEROSCOPE, train_tokenizer, write_owl, write_zeroscope


@pytest.fixture(scope="module")
def hub(tmp_path_factory, small):
    """A folder of published models: OWNER/NAME."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("hub")
    write_owl(root / OWL, train_tokenizer())
    text = {**small.text_encoder, "max_position_embeddings": 77}
    run = write_random_checkpoint(tmp_path_factory.mktemp("run") / "run", replace(small, text_encoder=text))
    write_zeroscope(root / ZEROSCOPE, run / "t2v")
    return root


@pytest.fixture(scope="module")
def owl(hub):
    return hub / OWL


@pytest.mark.slow
def test_one_command(hub, tmp_path):
    """Hub names become a bundle that talks about a video and makes one; a second call needs no network."""
    command = [sys.executable, "-m", "g4v.export", "--base", OWL, "--t2v", ZEROSCOPE, "--quiet"]
    command += ["--video-size", "16x8", "--frames", "3", "--out"]
    with serve_hub(hub) as (address, asked):
        home = at(address, tmp_path)
        done = subprocess.run([*command, "first"], cwd=tmp_path, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wanted = {f"{name}/{p.relative_to(hub / name)}" for name in (OWL, ZEROSCOPE) for p in files(hub / name)}
    assert sorted(asked) == sorted(wanted)
    # The hub's cache, which is made of links, is all there is now.
    home["HF_HUB_OFFLINE"] = "1"
    again = subprocess.run([*command, "again"], cwd=tmp_path, env=home, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert hashes(tmp_path / "again") == hashes(tmp_path / "first")
    # Frames and size of its videos are the bundle's own: at 24 of 576x320 this would take minutes and 12 GB.
    words = [sys.executable, "-m", "g4v", "verify", "first", "--base", OWL, "--t2v", ZEROSCOPE]
    verified = subprocess.run(words, cwd=tmp_path, env=home, capture_output=True, text=True, timeout=300)
    assert "graphs: 6 compute what" in verified.stdout, verified.stderr
    forgot = subprocess.run(words[:-2], cwd=tmp_path, env=home, capture_output=True, text=True, timeout=300)
    assert f"name what it was exported from (--base {OWL} --t2v {ZEROSCOPE})" in forgot.stderr

    assistant = g4v.load(tmp_path / "first", device="cpu")
    assert assistant.info["frame_samples"] == 4
    frames = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), np.uint8)
    answer = assistant.chat(seed=1, max_new_tokens=8).ask("What is it?", video=frames)
    assert isinstance(answer.text, str)
    assert assistant.generate("a red circle", steps=2).frames.shape == (3, 8, 16, 3)


def at(address: str, folder: Path) -> dict[str, str]:
    """The environment of a process that takes `address` for the hub, with a cache of its own."""
    own = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0"}
    return {**os.environ, **own}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def hashes(bundle: Path) -> dict[str, str]:
    manifest = json.loads((bundle / "g4v.json").read_text("utf-8"))
    return {name: entry["sha256"] for name, entry in manifest["files"].items()}


def test_what_an_assistant_of_the_published_parts_is(hub, owl):
    checkpoint = Checkpoint.open(owl, Overrides(t2v=str(hub / ZEROSCOPE)))
    assert checkpoint.about["frames"] == 4
    assert checkpoint.about["generation"]["text"]["top_k"] == 5
    video = checkpoint.about["generation"]["video"]
    assert (video["frames"], video["width"], video["height"], video["steps"]) == (24, 576, 320, 40)
    assert checkpoint.scheduler()["type"] == "dpmsolver++"
    assert checkpoint.prompt.system == teaching_system("mplug-owl", checkpoint.prompt.system.split("\n")[0])
    assert "<video>" in checkpoint.prompt.system
    # Without a text-to-video model the prompt is the public one.
    assert Checkpoint.open(owl).prompt == preset_template("mplug-owl", checkpoint.tokenizer("decoder"))
    licences = {entry["component"]: entry["licence"] for entry in checkpoint.about["licences"]}
    assert licences == {"base": f"that of {owl.name}", "t2v": "cc-by-nc-4.0"}  # of its model card
    assert str(hub) not in json.dumps(checkpoint.about)


def test_the_parts_are_those_of_the_conversion(owl, tmp_path):
    """In place, tensor by tensor, or taken apart by `bases convert`: the same numbers, the same assistant."""
    run = convert_checkpoint(owl, tmp_path / "run")
    one, other = Checkpoint.open(owl), Checkpoint.open(run)
    assert one.prompt == other.prompt and one.about["generation"] == other.about["generation"]
    for part in ("encoder", "abstractor"):
        a, b = getattr(one, part)().state_dict(), getattr(other, part)().state_dict()
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    a, b = one.llm(), other.llm()
    assert a.shapes == b.shapes and all(torch.equal(a.read(name), b.read(name)) for name in a.shapes)
    texts = ["Human: what moves?\nAI:", " a  b ", "naïve 東京"]
    assert [one.tokenizer("decoder").encode(text) for text in texts] == [
        other.tokenizer("decoder").encode(text) for text in texts
    ]


def test_training_reads_the_same_parts(owl):
    """Every function that loads a base takes the checkpoint's own folder."""
    tensors = torch.load(owl / "pytorch_model-00002-of-00002.bin", weights_only=True)
    head = load_llm(owl).lm_head.weight
    assert torch.equal(head, tensors["language_model.lm_head.weight"])
    assert load_vision(owl).flavour == "mplug-owl-video"
    assert load_abstractor(owl).vit_eos.shape[-1] == LLAMA["hidden_size"]
    assert load_tokenizer(owl).eos_token_id == 2


def in_blocks(name: str) -> str:
    """The matrices whose rows are whole blocks of 32, in 4 bits."""
    return "Q4_0" if name.endswith(("attn_q.weight", "ffn_down.weight")) else "F32"


@pytest.fixture(scope="module")
def others(owl, tmp_path_factory):
    """Another language model and tower of the same sizes, and the owl's own language model in 4 bits."""
    folder = tmp_path_factory.mktemp("others")
    torch.manual_seed(7)
    other = convert_checkpoint(write_owl(folder / "owl", train_tokenizer()), folder / "other")
    own = convert_checkpoint(owl, folder / "own")
    return other, own, write_gguf(own / "llm", folder / "own.gguf", kind_of=in_blocks)


@pytest.mark.slow
def test_parts_that_were_not_trained_together(owl, others, tmp_path):
    other, own, quantised = others
    for named, message in (
        (Overrides(llm=str(other / "llm")), r"the abstractor of .* was trained with another language model"),
        (Overrides(vision=str(other / "encoder")), r"the abstractor of .* was trained with another tower"),
    ):
        with pytest.raises(ExportError, match=message + r".*leave --(llm|vision) out, or say --mix"):
            Checkpoint.open(owl, named)
        Checkpoint.open(owl, replace(named, mix=True))
    # A copy of the base's own language model, quantised or not, is no other one.
    assert Checkpoint.open(owl, Overrides(llm=str(own / "llm"))).parts["llm"] == own / "llm"
    assert same_model(owl, quantised) and not same_model(other / "llm", quantised)


def test_a_runs_adapter_belongs_to_its_language_model(run, tmp_path, small):
    other = write_random_checkpoint(tmp_path / "other", small, seed=5)
    lean = tmp_path / "run"
    shutil.copytree(run, lean, ignore=shutil.ignore_patterns("encoder", "abstractor", "frame_checker"))
    with pytest.raises(ExportError, match="the adapter of .* was trained with another language model"):
        Checkpoint.open(lean, Overrides(llm=str(other / "llm")))
    assert not Checkpoint.open(lean, Overrides(llm=str(other / "llm"), adapters=[])).adapters


def test_what_is_no_base(run, owl, hub, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.gguf").write_bytes(b"GGUF")
    for place, message in (
        (run / "llm", "is a 'llama' model; name it with --llm"),
        (run / "adapter", "is an adapter; name it with --adapter"),
        (hub / ZEROSCOPE, "is a text-to-video pipeline; name it with --t2v"),
        (tmp_path / "empty", "it is no run and no published checkpoint"),
        (tmp_path / "file.gguf", "is a language model; name it with --llm"),
        (tmp_path / "nowhere", "no such file or directory"),
        (owl / "config.json", "is a file; name the folder"),
    ):
        with pytest.raises(ExportError, match=message):
            Checkpoint.open(place)


def test_parts_alone(run, hub, tmp_path):
    """A language model that was never tuned for videos makes them: a template and no new parameters."""
    parts = Overrides(llm=str(run / "llm"), t2v=str(hub / ZEROSCOPE))
    with pytest.raises(ExportError, match=r"no chat template; name a prompt template .*--template chatml"):
        Checkpoint.open(None, parts)
    checkpoint = Checkpoint.open(None, replace(parts, template="vicuna"))
    assert set(checkpoint.parts) == {"llm", "t2v"} and "<video>" in checkpoint.prompt.system
    assert checkpoint.prompt.assistant_prefix == " ASSISTANT:"
    with pytest.raises(ExportError, match="was trained with its own prompt template; leave --template out"):
        Checkpoint.open(run, Overrides(template="vicuna"))


@pytest.mark.slow
def test_the_words_of_the_command(owl, run, tmp_path, capsys):
    text = tmp_path / "system.txt"
    text.write_text("\ufeffBe brief.\n", "utf-8")
    assert Checkpoint.open(owl, Overrides(system="Be brief.")).prompt.system == "Be brief."
    words = ["--base", str(owl), "--out", str(tmp_path / "out"), "--quiet"]
    (tmp_path / "blank.txt").write_text(" \n")
    for more, message in (
        (["--system", str(tmp_path / "none.txt")], "none.txt: no such file; check the path"),
        (["--system", str(tmp_path / "blank.txt")], "blank.txt: holds no text"),
        (["--system", str(tmp_path)], "is a folder; name a file, or write the text itself"),
        (["--adapter", "none", "--adapter", str(run / "adapter")], "--adapter none stands alone"),
        (["--adapter", "nowhere/at/all"], "nowhere/at/all: no such file or directory"),
        (
            ["--t2v", str(owl)],
            "has no unet/config.json and no transformer/config.json: it is no text-to-video pipeline",
        ),
        (["--variant", "fp16"], "t2v/ is missing: --variant chooses among its weights"),
        (["--frames", "3"], "are those of the videos that it makes; name one with --t2v"),
        (["--t2v", str(run / "t2v"), "--variant", "fp8"], "has no weights of the variant 'fp8'"),
    ):
        assert main([*words, *more]) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    long = ["--system", "word " * 3000]
    for more in ([*long], [*long, "--dry-run"]):
        assert main([*words, *more]) == 1
        error = capsys.readouterr().err
        assert "has no room for the system text (" in error and "give a shorter --system" in error
        assert error.count("\n") == 1
    assert main([*words, "--system", str(text), "--component", "decoder"]) == 0
    manifest = json.loads((tmp_path / "out" / "g4v.json").read_text("utf-8"))
    assert manifest["prompt"]["system"] == "Be brief."
    assert read_system(str(text)) == read_system(" Be brief.\n") == "Be brief."


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("vision_config", "num_channels", 4),
        ("vision_config", "hidden_size", "32"),
        ("vision_config", "layer_norm_eps", "small"),
        ("visual_abstractor_config", "num_hidden_layers", 0),
        ("vision_config", "relative_positions", True),
        ("visual_abstractor_config", "grid_size", [1]),
        ("visual_abstractor_config", "gated", True),
        ("text_config", "sliding_window", 16),
        ("text_config", "rope_scaling", {"type": "spiral", "factor": 2.0}),
        (None, "moe_layers", 3),
        (None, "hidden_size", 80),
    ],
)
def test_a_key_that_would_not_be_followed_is_named(owl, tmp_path, section, key, value):
    copy = shutil.copytree(owl, tmp_path / "copy")
    about = json.loads((copy / "config.json").read_text("utf-8"))
    (about if section is None else about[section])[key] = value
    (copy / "config.json").write_text(json.dumps(about), "utf-8")
    if key == "grid_size":  # positions of the tower's patches, which its own weights have
        Checkpoint.open(copy)
        return
    with pytest.raises(ExportError, match=key if key != "rope_scaling" else "rope_type is both 'spiral' and"):
        Checkpoint.open(copy)


@pytest.mark.slow
def test_a_model_that_the_hub_does_not_have(hub, tmp_path):
    command = [sys.executable, "-m", "g4v.export", "--base", "nobody/nothing", "--out", "out", "--quiet"]
    with serve_hub(hub) as (address, _):
        home = at(address, tmp_path)
        done = subprocess.run(command, cwd=tmp_path, env=home, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "nobody/nothing: cannot be downloaded" in done.stderr


def test_a_tensor_of_whole_numbers_is_refused(owl, tmp_path):
    copy = shutil.copytree(owl, tmp_path / "copy")
    file = copy / "pytorch_model-00002-of-00002.bin"
    tensors = torch.load(file, weights_only=True)
    tensors["language_model.model.norm.weight"] = tensors["language_model.model.norm.weight"].long()
    torch.save(tensors, file)
    with pytest.raises(ExportError, match=r"norm\.weight is stored as int64, no floating type"):
        Checkpoint.open(copy)


@pytest.mark.parametrize("content", [b"", b"half of a file"])
def test_a_damaged_tokenizer_is_called_damaged(owl, tmp_path, content):
    copy = shutil.copytree(owl, tmp_path / "copy")
    (copy / "tokenizer.model").write_bytes(content)
    with pytest.raises(ExportError, match=r"tokenizer\.model: damaged: holds no SentencePiece model"):
        Checkpoint.open(copy)


@pytest.mark.parametrize("file", ["vocab.json", "merges.txt"])
def test_a_tokenizer_of_captions_that_lacks_a_file(hub, owl, tmp_path, file):
    copy = shutil.copytree(hub / ZEROSCOPE, tmp_path / "copy")
    (copy / "tokenizer" / file).unlink()
    parts = Checkpoint.open(owl, Overrides(t2v=str(copy)))
    with pytest.raises(ExportError, match=f"{file}: no such file, and no tokenizer.json"):
        check_vocabularies(parts, ["decoder", "text_encoder"])


def test_a_checkpoint_is_checked_once_for_all_of_its_parts(owl, tmp_path, monkeypatch):
    opened = []
    check = mplug_owl.Conversion
    monkeypatch.setattr(mplug_owl, "Conversion", lambda *given: opened.append(given) or check(*given))
    copy = shutil.copytree(owl, tmp_path / "copy")
    for _ in range(2):
        checkpoint = Checkpoint.open(copy)
        checkpoint.encoder(), checkpoint.abstractor(), checkpoint.llm()
        checkpoint.llm().config.vocab_size = 3  # is a copy
        assert mplug_owl.open_mplug_owl(copy).config("llm").vocab_size > 3
    assert len(opened) == 1
    values = json.loads((copy / "config.json").read_text("utf-8"))
    values["visual_abstractor_config"]["num_hidden_layers"] = 99
    (copy / "config.json").write_text(json.dumps(values), "utf-8")
    with pytest.raises(ExportError, match="missing abstractor tensor"):
        Checkpoint.open(copy)  # a changed one is opened anew


@pytest.mark.parametrize("part", ["encoder", "abstractor"])
def test_a_configuration_that_says_nothing_is_refused_before_any_work(run, tmp_path, part):
    lean = shutil.copytree(run, tmp_path / "lean")
    (lean / part / "config.json").write_text("{}")
    with pytest.raises(ExportError, match=r"names no model_type|(missing|unexpected|misshapen) tensor"):
        Checkpoint.open(lean)
