"""Single components, alone and into a bundle that exists."""

import json
import shutil
from dataclasses import replace

import pytest

from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
from g4v.export.errors import ExportError


@pytest.fixture(scope="module")
def other(tmp_path_factory, small):
    """A second run with other weights of the same sizes."""
    return write_random_checkpoint(tmp_path_factory.mktemp("other") / "run", small, seed=5, vocab_size=280)


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "copy")


def manifest(bundle):
    return json.loads((bundle / "g4v.json").read_text("utf-8"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_the_same_component_again_changes_nothing(run, bundle, copy):
    before = contents(copy)
    for component in ("decoder", "unet", "encoder"):
        export_bundle(run, copy, only=[component], force=True)
    after = contents(copy)
    for name in before:
        assert name.startswith("report.") or after[name] == before[name], name
    assert set(after) == set(before)


@pytest.mark.slow
def test_one_component_is_replaced_and_the_others_stay(run, other, bundle, copy, capsys):
    words = ["--checkpoint", str(other), "--out", str(copy), "--component", "decoder", "--precision", "int8"]
    assert main([*words, "--force"]) == 0
    old, new = manifest(bundle), manifest(copy)
    assert {name for name in new["components"] if new["components"][name] != old["components"][name]} == {
        "decoder"
    }
    assert new["components"]["decoder"]["variants"][0]["precision"] == "int8"
    changed = {name for name in old["files"] if new["files"].get(name) != old["files"][name]}
    assert changed == {"decoder.onnx", "decoder.data", "decoder.packed", "embedding.bin"}
    for name, entry in new["files"].items():
        assert (copy / name).stat().st_size == entry["bytes"]
    errors = (old["provenance"]["relative_errors"], new["provenance"]["relative_errors"])
    assert {key for key in errors[0] if errors[0][key] != errors[1][key]} == {"decoder"}
    parts = json.loads((copy / "report.json").read_text("utf-8"))["components"]
    assert {part["name"]: part["precision"] for part in parts} == {
        name: "int8" if name == "decoder" else "fp32" for name in old["components"]
    }
    with pytest.raises(ExportError):
        verify_bundle(run, copy)
    import g4v

    *_, done = g4v.load(copy, threads=1).chat(seed=0).send("Hello")
    assert isinstance(done, g4v.Done)


def test_a_component_alone_is_a_bundle_of_its_own(run, bundle, tmp_path):
    export_bundle(run, tmp_path / "out", only=["decoder"])
    alone, whole = manifest(tmp_path / "out"), manifest(bundle)
    assert alone["components"] == {"decoder": whole["components"]["decoder"]}
    assert set(alone["files"]) == {
        "decoder.onnx",
        "decoder.data",
        "decoder.packed",
        "embedding.bin",
        "tokenizer.json",
    }
    import g4v

    assert g4v.load(tmp_path / "out", threads=1).chat(seed=0).ask("Hello").new_tokens > 0


def test_bench_measures_what_a_bundle_has(tmp_path, small, capsys):
    import g4v.cli

    roomy = replace(small, llama={**small.llama, "max_position_embeddings": 512})
    run = write_random_checkpoint(tmp_path / "run", roomy, vocab_size=280)
    export_bundle(run, tmp_path / "out", only=["decoder"])
    capsys.readouterr()
    code = g4v.cli.main(["bench", "--bundle", str(tmp_path / "out"), "--runs", "1", "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    measured = json.loads(out)
    assert measured["first_token_ms"]["median"] > 0
    assert measured["video_shape"] is None and "video_ms" not in measured


def test_a_new_tokenizer_leaves_the_shared_one_to_the_other(run, copy, tmp_path, small):
    """The text encoder keeps the file that it shared with the decoder."""
    roomy = replace(small, llama={**small.llama, "max_position_embeddings": 512})
    third = write_random_checkpoint(tmp_path / "third", roomy, vocab_size=280, sentences=["aa bb cc dd ee"])
    before = (copy / "tokenizer.json").read_bytes()
    export_bundle(third, copy, only=["decoder"], force=True)
    tokenizers = manifest(copy)["tokenizers"]
    assert tokenizers["decoder"]["file"] == "tokenizer.json"
    assert tokenizers["text_encoder"]["file"] == "text_encoder_tokenizer.json"
    assert (copy / "text_encoder_tokenizer.json").read_bytes() == before
    assert (copy / "tokenizer.json").read_bytes() != before


@pytest.mark.slow
def test_what_is_refused_leaves_the_bundle_as_it_was(run, copy, tmp_path, small, capsys):
    wider = replace(small, llama={**small.llama, "hidden_size": 96})
    misfit = write_random_checkpoint(tmp_path / "misfit", wider, vocab_size=280)
    blind = shutil.copytree(run, tmp_path / "blind")
    for part in ("encoder", "abstractor", "frame_checker"):
        shutil.rmtree(blind / part)
    before = contents(copy)
    for source, component, message in (
        (run, "brain", "has no brain to export"),
        (blind, "encoder", "has no encoder to export"),
        (misfit, "decoder", "abstractor.output_size is 48, but decoder.hidden_size is 96"),
    ):
        words = ["--checkpoint", str(source), "--out", str(copy), "--component", component, "--quiet"]
        assert main([*words, "--force"]) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert main([*words]) == 1 and "exists already" in capsys.readouterr().err
    assert contents(copy) == before
    (copy / "unet.data").unlink()
    assert main(["--checkpoint", str(run), "--out", str(copy), "--component", "decoder", "--force"]) == 1
    assert "unet.data: cannot be kept" in capsys.readouterr().err
    (copy / "g4v.json").write_text('{"format": "g4v-bundle", "format_version": 9}')
    with pytest.raises(ExportError, match="is not a bundle"):
        export_bundle(run, copy, only=["decoder"], force=True)
