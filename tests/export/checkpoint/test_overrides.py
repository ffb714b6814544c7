"""Parts of a bundle that come from elsewhere than the run."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from g4v.cli import main as g4v
from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.adapter import Adapter
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.catalog import components_of
from g4v.export.components.precision import parse_precisions
from g4v.export.components.profile import DimensionRange
from g4v.export.errors import ExportError
from g4v.model.assistant import Gpt4Video
from gguf_files import write_gguf


@pytest.fixture(scope="module")
def other(tmp_path_factory, small):
    """A second run with other weights of the same sizes."""
    return write_random_checkpoint(tmp_path_factory.mktemp("other") / "run", small, seed=3, vocab_size=280)


def hashes(bundle):
    """SHA-256 of every component's weights."""
    files = json.loads((bundle / "g4v.json").read_text("utf-8"))["files"]
    return {name.removesuffix(".data"): f["sha256"] for name, f in files.items() if name.endswith(".data")}


@pytest.mark.slow
def test_named_parts_take_the_place_of_the_runs(run, other, bundle, tmp_path):
    out = tmp_path / "mixed"
    arguments = ["--checkpoint", str(run), "--llm", str(other / "llm"), "--t2v", str(other / "t2v")]
    arguments += ["--vision", str(other / "encoder"), "--adapter", str(other / "adapter"), "--mix"]
    assert main([*arguments, "--out", str(out), "--quiet"]) == 0
    export_bundle(other, tmp_path / "theirs")
    own, theirs, mixed = hashes(bundle), hashes(tmp_path / "theirs"), hashes(out)
    assert len(own) == 8 and not set(own.values()) & set(theirs.values())
    kept = {"abstractor", "abstractor_memory", "frame_checker"}
    assert mixed == {name: own[name] if name in kept else theirs[name] for name in own}
    assert main([*arguments, "--out", str(out), "--quiet", "--verify"]) == 0
    with pytest.raises(ExportError):
        verify_bundle(run, out)  # not what the run alone exports to


@pytest.mark.slow
def test_g4v_verify_takes_the_same_parts(run, other, tmp_path, capsys):
    parts = ["--vision", str(other / "encoder"), "--adapter", str(other / "adapter")]
    parts += ["--t2v", str(other / "t2v")]
    out = str(tmp_path / "mixed")
    assert main(["--checkpoint", str(run), *parts, "--mix", "--out", out, "--quiet"]) == 0
    assert g4v(["verify", out, "--checkpoint", str(run), *parts]) == 0
    assert "graphs: 7 compute what the run does" in capsys.readouterr().out
    for left_out in range(0, len(parts), 2):
        some = parts[:left_out] + parts[left_out + 2 :]
        assert g4v(["verify", out, "--checkpoint", str(run), *some]) == 1
    capsys.readouterr()
    assert g4v(["verify", out, *parts]) == 2
    error = capsys.readouterr().err
    assert "--adapter names a part in place of the run's; name the run too, with --base" in error


@pytest.mark.slow
def test_frames_and_size_of_videos(run, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--checkpoint", str(run), "--out", str(out), "--component", "vae_decoder", "--component", "unet"]
    assert main([*words, "--quiet", "--frames", "3", "--video-size", "24x16", "--target", "cpu"]) == 0
    video = json.loads((out / "g4v.json").read_text("utf-8"))["generation"]["video"]
    assert (video["frames"], video["width"], video["height"]) == (3, 24, 16)
    own = json.loads((run / "g4v_train.json").read_text("utf-8"))["generation"]["video"]
    assert video["fps"] == own["fps"]
    precisions = parse_precisions([], ["tensorrt-rtx"])
    checkpoint = Checkpoint.open(run, Overrides(frames=3, video_size=(24, 16)))
    profiles = {part.name: part.profile for part in components_of(checkpoint, precisions)}
    assert profiles["unet"]["frames"] == profiles["vae_decoder"]["frames"] == DimensionRange(1, 3, 3)
    assert profiles["unet"]["width"] == profiles["vae_decoder"]["latent_width"] == DimensionRange.fixed(6)
    assert profiles["unet"]["height"] == DimensionRange.fixed(4)
    assert profiles["encoder"]["frames"].max == checkpoint.about["frames"]  # of clips, not of videos

    for more, message in (
        (["--frames", "0"], "frames of videos is 0: it must be from 1 to 1024"),
        (["--video-size", "8192x64"], "width of videos is 8192: it must be from 1 to 4096"),
        (["--video-size", "big"], "video size 'big': write WIDTHxHEIGHT in pixels, such as 576x320"),
        (["--video-size", "22x16"], "width and height must be multiples of 4, not 22x16"),
    ):
        assert main([*words, "--force", "--quiet", *more]) == 1
        assert message in capsys.readouterr().err
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "t2v")
    with pytest.raises(ExportError, match="t2v/ is missing: frames and size are those of the videos"):
        Checkpoint.open(tmp_path / "run", Overrides(frames=4))


@pytest.mark.slow
def test_a_run_may_leave_parts_to_another(run, bundle, tmp_path):
    shutil.copytree(run, tmp_path / "whole")
    lean = tmp_path / "lean"
    for part in ("abstractor", "adapter"):
        shutil.copytree(run / part, lean / part)
    about = json.loads((run / "g4v_train.json").read_text("utf-8"))
    about["parts"] = {name: f"../whole/{name}" for name in ("encoder", "llm", "t2v", "frame_checker")}
    (lean / "g4v_train.json").write_text(json.dumps(about), "utf-8")
    export_bundle(lean, tmp_path / "out")
    assert (tmp_path / "out" / "g4v.json").read_bytes() == (bundle / "g4v.json").read_bytes()
    whole, found = (Gpt4Video.from_checkpoint(r, parts=Checkpoint.open(r).parts) for r in (run, lean))
    assert found.encoder is not None and found.abstractor is not None
    for (name, one), (again, other) in zip(
        whole.state_dict().items(), found.state_dict().items(), strict=True
    ):
        assert name == again and torch.equal(one, other)


def test_adapters_are_the_runs_the_users_or_none(run, other):
    assert Checkpoint.open(run).adapters == [Adapter(run / "adapter")]
    assert Checkpoint.open(run, Overrides(adapters=[])).adapters == []
    plain, own = (
        Checkpoint.open(run, overrides).llm() for overrides in (Overrides(adapters=[]), Overrides())
    )
    both = Checkpoint.open(
        run, Overrides(adapters=[Adapter(run / "adapter"), Adapter(other / "adapter", 0.5)])
    )
    theirs = Checkpoint.open(run, Overrides(adapters=[Adapter(other / "adapter")])).llm()
    name = "model.layers.0.self_attn.q_proj.weight"
    weights = [llama.read(name).double() for llama in (plain, own, theirs, both.llm())]
    base = weights[0]
    assert (weights[1] - base).abs().max() > 1e-3
    torch.testing.assert_close(
        weights[3] - base, (weights[1] - base) + 0.5 * (weights[2] - base), rtol=0, atol=1e-6
    )


@pytest.mark.slow
def test_a_language_model_from_a_gguf_file(run, bundle, tmp_path):
    """The same weights as a folder and as the file that llama.cpp uses."""
    path = write_gguf(run / "llm", tmp_path / "model.gguf")
    source = Overrides(llm=str(path))
    from_file, from_folder = Checkpoint.open(run, source), Checkpoint.open(run)
    one, two = from_folder.llm(), from_file.llm()
    assert one.shapes == two.shapes
    for name in one.shapes:
        torch.testing.assert_close(two.read(name), one.read(name), rtol=0, atol=1e-6)
    export_bundle(run, tmp_path / "out", overrides=source)
    assert verify_bundle(run, tmp_path / "out")["decoder"] < 1e-4
    # transformers would give the file's tokenizer one token more than the model has rows.
    assert len(from_file.tokenizer("decoder")) == len(from_folder.tokenizer("decoder")) == 280
    written = [json.loads((b / "tokenizer.json").read_text("utf-8")) for b in (bundle, tmp_path / "out")]
    assert written[0]["vocab"] == written[1]["vocab"] and written[0]["merges"] == written[1]["merges"]
    assert set(written[1]["special_tokens"]) == {"<pad>", "<s>", "</s>"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"llm": "nowhere/at/all"}, "nowhere/at/all: no such file or directory"),
        ({"vision": "{run}/llm"}, "is a 'llama' model, only CLIP and mPLUG-Owl towers can be used"),
        ({"llm": "{run}/encoder"}, "only LlamaForCausalLM can be used"),
        ({"t2v": "{run}/llm"}, "it is no text-to-video pipeline of diffusers"),
        ({"adapters": [Adapter(Path("nowhere"))]}, "nowhere: no such file or directory"),
    ],
)
def test_what_is_no_such_part_is_refused(run, tmp_path, overrides, message):
    values = {k: v.format(run=run) if isinstance(v, str) else v for k, v in overrides.items()}
    with pytest.raises(ExportError, match=message):
        export_bundle(run, tmp_path / "out", overrides=Overrides(**values))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"tokenizer": "x"}, "unknown part 'tokenizer'"),
        ({"llm": "../elsewhere"}, "elsewhere: no such file or directory; g4v_train.json names it as llm"),
        (["llm"], "'parts' must map"),
    ],
)
def test_bad_parts_of_a_description_are_refused(run, tmp_path, parts, message):
    lean = shutil.copytree(run, tmp_path / "lean")
    about = {**json.loads((run / "g4v_train.json").read_text("utf-8")), "parts": parts}
    (lean / "g4v_train.json").write_text(json.dumps(about), "utf-8")
    with pytest.raises(ExportError, match=message):
        Checkpoint.open(lean)


def test_words_that_cannot_be_read(capsys, tmp_path, run):
    with pytest.raises(SystemExit) as stop:
        main(["--preset", "gpt4video-7b", "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert "--base is needed" in capsys.readouterr().err
    words = ["--checkpoint", str(run), "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*words, "--adapter", "x=y"]) == 1
    assert capsys.readouterr().err == "g4v.export: error: adapter x=y: 'y' is no weight (write FOLDER=0.5)\n"
