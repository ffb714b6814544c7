"""Bundles whose decoder is packed weights alone, without the graph (--no-decoder-graph)."""

import json
import shutil

import pytest

import g4v
from g4v.export.__main__ import main
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.errors import ExportError

QUESTIONS = ["Hello", "What is that?", "And now?", "Go on"]


def manifest_of(bundle):
    return json.loads((bundle / "g4v.json").read_text("utf-8"))


def answers(bundle):
    assistant = g4v.load(bundle, threads=1)
    return [
        assistant.chat(temperature=0, max_new_tokens=12, seed=0).ask(question).text for question in QUESTIONS
    ]


@pytest.fixture(scope="module", params=["fp32", "int8", "int4"])
def pair(request, run, tmp_path_factory):
    """The same decoder with its graph and without."""
    folder = tmp_path_factory.mktemp("pair")
    options = {"only": ["decoder"], "precision": request.param, "calibration": "none"}
    export_bundle(run, folder / "whole", **options)
    export_bundle(run, folder / "alone", decoder_graph=False, **options)
    return folder / "whole", folder / "alone"


def test_the_answers_are_the_same_and_the_graph_is_gone(pair):
    whole, alone = pair
    assert (whole / "decoder.packed").read_bytes() == (alone / "decoder.packed").read_bytes()
    assert {file.name for file in alone.iterdir()} == {
        *("decoder.packed", "embedding.bin", "tokenizer.json", "g4v.json", "report.json", "report.html")
    }
    before, after = manifest_of(whole), manifest_of(alone)
    left_out = {"decoder.onnx", "decoder.data"}
    assert after["files"] == {name: entry for name, entry in before["files"].items() if name not in left_out}
    (variant,) = after["components"]["decoder"]["variants"]
    assert variant["files"] == [variant["packed"]] == ["decoder.packed"] and "graph" not in variant
    assert answers(alone) == answers(whole) != [""] * len(QUESTIONS)
    size = sum(entry["bytes"] for entry in after["files"].values())
    (report,) = json.loads((alone / "report.json").read_text("utf-8"))["components"]
    assert report["bytes"] == (alone / "decoder.packed").stat().st_size < size


def test_it_is_verified_against_the_run(run, pair, tmp_path, capsys):
    whole, alone = pair
    precision = manifest_of(alone)["components"]["decoder"]["variants"][0]["precision"]
    found = verify_bundle(run, alone)["decoder"]
    assert found <= (1e-4 if precision == "fp32" else 0.1)
    # One scale, or some weights, are others, and the digest says so no longer: the run does.
    other = shutil.copytree(alone, tmp_path / "other")
    packed = bytearray((other / "decoder.packed").read_bytes())
    length = int.from_bytes(packed[:8], "little")
    header = json.loads(packed[8 : 8 + length])
    kind = "weights" if precision == "fp32" else "scales"
    first, end = header[f"layers.1.up.{kind}"]["data_offsets"]
    place = slice(8 + length + first, 8 + length + end)
    packed[place] = bytes(len(packed[place]))
    (other / "decoder.packed").write_bytes(packed)
    manifest = manifest_of(other)
    from g4v.export.bundle.manifest import file_entry

    manifest["files"]["decoder.packed"] = file_entry(other / "decoder.packed")
    (other / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ExportError, match=r"layers\.1\.up|mlp\.up_proj in layer 1|of layers\.1\.up"):
        verify_bundle(run, other)


def test_inspect_and_verify_show_it(pair, capsys):
    from g4v import cli

    _, alone = pair
    for command in (["inspect"], ["inspect", "--json"], ["verify"]):
        assert cli.main([*command, str(alone)]) == 0
    assert "decoder" in capsys.readouterr().out


def test_a_device_that_needs_the_graph_is_refused(pair):
    """Here there is no GPU, which is said first; tests/csrc/test_placement.cc has one."""
    with pytest.raises(g4v.Error):
        g4v.load(pair[1], device="cuda")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "cuda"], "for bundles of the target cpu alone, and cuda is named"),
        (["--target", "cpu", "--target", "cuda"], "for bundles of the target cpu alone, and cuda is named"),
        (["--target", "tensorrt-rtx"], "for bundles of the target cpu alone, and tensorrt-rtx is named"),
        (["--component", "encoder"], "--no-decoder-graph is of the decoder, which --component leaves out"),
        (["--precision", "decoder=fp16"], "decoder cannot be written in 'fp16' for cpu"),
    ],
)
def test_what_needs_the_graph_is_refused(run, tmp_path, capsys, words, message):
    for more in ([], ["--dry-run"]):
        arguments = ["--base", str(run), "--out", str(tmp_path / "out"), "--no-decoder-graph", *words, *more]
        assert main(arguments) == 1
        line = capsys.readouterr().err
        assert message in line and line.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_a_run_without_a_language_model_is_refused(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("llm", "adapter"))
    for part in ("encoder", "abstractor", "frame_checker"):
        shutil.rmtree(folder / part, ignore_errors=True)
    with pytest.raises(ExportError, match="has no language model"):
        export_bundle(folder, tmp_path / "out", decoder_graph=False)
    assert not (tmp_path / "out").exists()


def test_the_estimate_counts_the_graph_on_disk_alone(run):
    from g4v.export.checkpoint.run import Checkpoint
    from g4v.export.components.precision import parse_precisions
    from g4v.export.plan.disk import needed_disk
    from g4v.export.plan.export_estimate import estimate_export

    checkpoint = Checkpoint.open(run)
    whole, alone = (
        estimate_export(checkpoint, parse_precisions("fp32"), ["decoder"], None, graph)
        for graph in (True, False)
    )
    assert needed_disk(whole) == needed_disk(alone) == alone[0].disk + alone[0].scratch
    assert alone[0].disk < 0.75 * whole[0].disk
