"""What an export says before it starts, and what it leaves to read afterwards."""

import errno
import io
import json
import os
import re
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from g4v._console import ProgressBar, duration
from g4v.export.__main__ import main
from g4v.export.bundle import writer
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.precision import parse_precisions
from g4v.export.errors import ExportError
from g4v.export.plan import dry_run, video_samples
from g4v.export.plan.export_estimate import estimate_export
from g4v.export.plan.operations import attended, convolved
from g4v.export.plan.runtime_estimate import ASSUMED_GPU, RunEstimate, estimate_run
from g4v.export.plan.tensor_shapes import read_shapes
from g4v.ops import versions

Usage = namedtuple("Usage", "total used free")


def sizes(bundle):
    """Bytes of every component's files, the embedding with the decoder."""
    manifest = json.loads((bundle / "g4v.json").read_text("utf-8"))
    files = {name: entry["bytes"] for name, entry in manifest["files"].items()}
    found = {
        name: sum(files[file] for file in part["variants"][0]["files"] if not file.endswith(".onnx"))
        for name, part in manifest["components"].items()
    }
    found["decoder"] += files["embedding.bin"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_the_plan_knows_the_bundles_size(run, bundle, tmp_path, precision):
    out = bundle
    if precision != "fp32":
        out = tmp_path / "out"
        export_bundle(run, out, precision=precision)
    estimates = {n.name: n for n in estimate_export(Checkpoint.open(run), parse_precisions(precision))}
    written = sizes(out)
    assert set(estimates) == set(written)
    for name, count in written.items():
        # The abstractor's rewrite folds what needs no weights any more; small data are padded.
        assert 0.8 * count < estimates[name].disk < 1.35 * count, name


def test_a_dry_run_tells_and_writes_nothing(run, tmp_path, capsys):
    out = tmp_path / "new" / "bundle"
    words = ["--checkpoint", str(run), "--out", str(out), "--dry-run", "--precision", "int8"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split() == ["component", "precision", "weights", "bundle", "peak", "memory"]
    for name in ("encoder", "decoder", "unet", "disk: ", "memory of the export: ", "time: about "):
        assert f"\n{name}" in text
    for line in (
        "memory of the assistant on a GPU: about ",
        "time of a run on this CPU: first token about a ",
    ):
        assert f"\n{line}" in text
    assert "(assumed, none is asked): first token about a video" in text and "video of 8 frames in 4" in text
    assert not (tmp_path / "new").exists()


def test_what_is_missing_is_said_before_anything_is_written(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 5000, 5000))
    monkeypatch.setattr(dry_run, "_free_memory", lambda: 10**6)
    out = tmp_path / "bundle"
    assert main(["--checkpoint", str(run), "--out", str(out), "--dry-run"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "of disk at" in errors[0] and "of memory" in errors[1]
    with pytest.raises(ExportError, match=r"the export takes .*B, and 5\.0 KB are free there"):
        export_bundle(run, out)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_names_missing_packages(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)  # as if it were not installed
    words = ["--checkpoint", str(run), "--out", str(tmp_path / "out"), "--dry-run"]
    assert main([*words, "--target", "tensorrt-rtx"]) == 1
    assert 'missing: target tensorrt-rtx needs the package tensorrt_rtx: pip install "g4v[tensorrt-rtx]"' in (
        capsys.readouterr().err
    )
    assert main(words) == 0
    # The decoder is written for the CPU all the same.
    assert main([*words, "--target", "tensorrt-rtx", "--component", "decoder"]) == 0


def test_a_dry_run_says_where_no_bundle_can_be_put(run, bundle, tmp_path, capsys, monkeypatch):
    words = ["--checkpoint", str(run), "--component", "abstractor", "--dry-run", "--out"]
    file = tmp_path / "file"
    file.touch()
    for out, reason in (
        (bundle, r"exists already \(--force replaces it\)"),
        (file / "a" / "b", "cannot be made, since .*file is a file"),
    ):
        assert main([*words, str(out)]) == 1
        assert re.fullmatch(f"g4v.export: error: missing: {out}: {reason}\n", capsys.readouterr().err)
        with pytest.raises(ExportError, match=reason):
            export_bundle(run, out)
    assert main([*words, str(bundle), "--force"]) == 0
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(ExportError, match=f"cannot be made, since {tmp_path} is not writable"):
        export_bundle(run, tmp_path / "out")


def test_a_dry_run_looks_at_all_files_that_are_named(run, tmp_path, capsys):
    words = ["--checkpoint", str(run), "--out", str(tmp_path / "out"), "--dry-run"]
    for option in ("--calibration", "--calibration-video"):
        assert main([*words, option, str(tmp_path / "none")]) == 1
        assert f"{tmp_path / 'none'}: no such file ({option} takes" in capsys.readouterr().err
    copy = shutil.copytree(run, tmp_path / "run")
    index = copy / "t2v" / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": "second.safetensors"}}))
    assert main(["--checkpoint", str(copy), *words[2:]]) == 1
    assert "second.safetensors: no such file, but the index names it" in capsys.readouterr().err


def test_a_disk_that_becomes_full_is_named(run, tmp_path, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer, "file_entry", full)
    out = tmp_path / "out"
    words = ["--checkpoint", str(run), "--component", "abstractor", "--quiet", "--out", str(out)]
    assert main(words) == 1
    assert capsys.readouterr().err == f"g4v.export: error: {out}: No space left on device\n"
    assert not list(tmp_path.iterdir())


def test_a_dry_run_of_single_components(run, tmp_path, capsys):
    words = ["--checkpoint", str(run), "--out", str(tmp_path / "out"), "--dry-run", "--component"]
    assert main([*words, "unet"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()][:3] == [
        "component",
        "unet",
        "disk:",
    ]
    assert main([*words, "brain"]) == 1
    assert "has no brain to export (only encoder, " in capsys.readouterr().err


def test_a_truncated_file_is_named_by_the_dry_run(run, tmp_path, capsys):
    bad = tmp_path / "bad"
    shutil.copytree(run, bad)
    (file,) = (bad / "t2v" / "unet").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    assert main(["--checkpoint", str(bad), "--out", str(tmp_path / "out"), "--dry-run"]) == 1
    assert capsys.readouterr().err.startswith(f"g4v.export: error: {file}: damaged or truncated")


@pytest.mark.slow
def test_progress_goes_from_nothing_to_everything(run, tmp_path):
    seen = []
    export_bundle(run, tmp_path / "out", progress=lambda component, share: seen.append((component, share)))
    shares = [share for _, share in seen]
    assert shares[0] == 0 and shares == sorted(shares) and 0.5 < shares[-1] < 1
    order = list(dict.fromkeys(component for component, _ in seen))
    assert order == list(json.loads((tmp_path / "out" / "g4v.json").read_text("utf-8"))["components"])
    assert sum(component == "decoder" for component, _ in seen) >= 2 * 3  # layers written, layers compared


def test_progress_is_drawn_on_terminals_alone():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    plain, quiet, terminal = io.StringIO(), Terminal(), Terminal()
    for bar in (
        ProgressBar(stream=plain),
        ProgressBar(quiet=True, stream=quiet),
        ProgressBar(stream=terminal),
    ):
        bar.update(0.5, "decoder")
        bar.clear()
    assert plain.getvalue() == quiet.getvalue() == ""
    assert "decoder [###############---------------]  50%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert (duration(40), duration(200)) == ("40 s", "3 min")


def test_the_report_is_in_the_bundle(bundle, capsys):
    import g4v.cli

    report = json.loads((bundle / "report.json").read_text("utf-8"))
    manifest = json.loads((bundle / "g4v.json").read_text("utf-8"))
    assert not {"report.json", "report.html"} & set(manifest["files"])  # times differ from run to run
    parts = {part["name"]: part for part in report["components"]}
    assert set(parts) == set(manifest["components"])
    for part in parts.values():
        assert 0 <= part["relative_error"] < 1e-4 and part["rounding_error"] is None
        assert part["weights"] > 0 and part["bytes"] > 0 and part["seconds"] >= 0
        assert part["peak_bytes"] is None or part["peak_bytes"] > 10**8
        steps = {step["name"]: step for step in part["steps"]}
        assert list(steps) == ["inputs", "load", "write", "measure", "compare", "store"]
        assert part["seconds"] == pytest.approx(sum(s["seconds"] for s in steps.values()), abs=0.06)
        assert part["peak_bytes"] == max(s["peak_bytes"] or 0 for s in steps.values()) or None
        if part["name"] != "decoder":
            assert 0 < part["real_error"] < 1e-4 and part["samples"]["inputs"] == "real"
            assert 0 < max(part["largest"].values()) == part["left"] and part["kept"] == {}
    assert manifest["provenance"]["samples"]["unet"] == {
        "clips": 4,
        "drawn_by": "g4v.data.shapes",
        "seed": 20231125,
        "captions": 4,
        "inputs": "real",
    }
    page = (bundle / "report.html").read_text("utf-8")
    assert all(f"<td>{name}</td>" in page for name in parts)
    assert "<script" not in page and "http" not in page
    assert page.count("<svg") == page.count("</svg>") == 5  # errors, ranges, time, memory, size
    assert page.count("<circle") == 2 * 7 + 6  # both errors of all, and the ranges of all but the decoder
    assert g4v.cli.main(["inspect", str(bundle)]) == 0
    text = capsys.readouterr().out
    assert "at export" in text and f"{parts['unet']['relative_error']:.1e}" in text
    table = text.partition("at export")[2].splitlines()[1:9]
    assert table[0].split() == ["random", "real", "of", "float16", "time", "memory"]
    assert max(map(len, table)) <= 90
    unet = next(line for line in table if "unet" in line).split()
    assert unet[2] == f"{parts['unet']['real_error']:.1e}" and unet[3].endswith("%")


def test_a_damaged_report_harms_nothing(bundle, tmp_path, capsys):
    import g4v.cli

    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    for content in (
        b"[]",
        b"\xff",
        b'{"components": [1]}',
        b'{"components": [{}]}',
        b'{"components": [{"name": "unet", "largest": 3}]}',
    ):
        (copy / "report.json").write_bytes(content)
        assert g4v.cli.main(["inspect", str(copy)]) == 0
        assert "at export" not in capsys.readouterr().out
    Path(copy / "report.json").unlink()
    assert g4v.cli.main(["inspect", str(copy)]) == 0


def test_missing_weights_are_named(run, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(run, bad)
    (file,) = (bad / "t2v" / "unet").glob("*.safetensors")
    file.unlink()
    with pytest.raises(ExportError, match="unet: no diffusion_pytorch_model.safetensors, diff.*bin or index"):
        export_bundle(bad, tmp_path / "out")


def test_shapes_are_read_from_pickles_too(run, tmp_path):
    import torch
    from safetensors.torch import load_file

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (file,) = (copy / "t2v" / "unet").glob("*.safetensors")
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    assert read_shapes(Checkpoint.open(copy)) == read_shapes(Checkpoint.open(run))


def test_operations_of_a_run_are_counted(run):
    """Against those of every product and convolution that PyTorch does."""
    import torch

    checkpoint = Checkpoint.open(run)
    tensors = read_shapes(checkpoint)
    frames, edge, total = 3, 8, [0.0]

    def count(module, given, result):
        if not isinstance(result, torch.Tensor) or not hasattr(module, "weight") or module.weight.ndim < 2:
            return
        total[0] += 2.0 * module.weight[0].numel() * result.numel()

    unet, vae = checkpoint.unet().float(), checkpoint.vae().float()
    for module in (*unet.modules(), *vae.decoder.modules()):
        module.register_forward_hook(count)
    with torch.no_grad():
        unet(torch.randn(1, 4, frames, edge, edge), 7, torch.randn(1, 16, 32))
        found = frames * convolved(tensors["unet"], 2, edge**2)
        assert total[0] < found < 1.3 * total[0]
        widths = []
        for name, module in unet.named_modules():
            if ".attentions." in name and name.endswith("attn1.to_q"):
                module.register_forward_hook(lambda _, given, result: widths.append(result.shape))
        unet(torch.randn(1, 4, frames, edge, edge), 7, torch.randn(1, 16, 32))
        assert widths and all(shape[0] == frames for shape in widths)
        wanted = sum(4.0 * rows**2 * width for _, rows, width in widths)
        assert attended(tensors["unet"], 2, edge**2) == wanted
        total[0] = 0.0
        vae.decode(torch.randn(frames, 4, edge, edge))
        found = frames * convolved(tensors["vae_decoder"], 3, (4 * edge) ** 2)
        assert 0.99 * total[0] < found < 1.3 * total[0]
    estimates = {
        estimate.name: estimate for estimate in estimate_export(checkpoint, parse_precisions("int4"))
    }
    whole = estimate_run(checkpoint, tensors, estimates["decoder"])
    assert whole.cache == 2 * 2 * 3 * 2 * 16 * 192  # keys and values of 3 layers, 2 heads of 16, float16
    assert whole.token == estimates["decoder"].gpu < 0.4 * 4 * estimates["decoder"].weights
    alone = estimate_run(checkpoint, {"unet": tensors["unet"]}, None)
    assert (alone.question, alone.token, alone.video) == (None, None, None)


def test_an_export_takes_longer_for_larger_videos_where_it_sees_them(run, monkeypatch):
    """A small model's graphs are compared on videos of the bundle's size, a large one's on few latents."""

    def seconds(**settings):
        checkpoint = Checkpoint.open(run, Overrides(**settings))
        return {e.name: e.seconds for e in estimate_export(checkpoint, parse_precisions(()))}

    small, large = seconds(), seconds(frames=24, video_size=(576, 320))
    factor = 24 * 576 * 320 / (seen(run)["frames"] * seen(run)["width"] * seen(run)["height"])
    assert large["vae_decoder"] - small["vae_decoder"] > 5 and large["unet"] - small["unet"] > 5
    assert large["vae_decoder"] / small["vae_decoder"] < factor
    assert large["text_encoder"] == small["text_encoder"]
    monkeypatch.setattr(video_samples, "LARGE", 0)
    assert seconds(frames=24, video_size=(576, 320))["unet"] == seconds()["unet"] < small["unet"]


def seen(run):
    return json.loads((run / "g4v_train.json").read_text("utf-8"))["generation"]["video"]


def test_tiles_stand_beside_the_file_that_they_are_made_of(run):
    checkpoint, both = Checkpoint.open(run), ["encoder", "abstractor"]
    splits = "amx" in versions()  # elsewhere the weights in another layout stand beside the file
    for precision, bytes_of_a_weight in (("fp32", 6), ("bf16x2", 4), ("int8", None)):
        precisions = parse_precisions([f"{name}={precision}" for name in both])
        for estimate in estimate_export(checkpoint, precisions, both):
            beside = bytes_of_a_weight * estimate.weights if splits and bytes_of_a_weight else estimate.disk
            assert estimate.resident == estimate.disk + beside


def test_a_gpu_holds_what_is_for_it(run):
    checkpoint = Checkpoint.open(run)
    sizes = {
        targets: {n.name: n.gpu for n in estimate_export(checkpoint, parse_precisions((), targets))}
        for targets in (("cpu",), ("cpu", "cuda"), ("cpu", "cuda", "tensorrt-rtx"))
    }
    cpu, cuda, engines = sizes.values()
    for name in cpu:
        assert 0.45 * cpu[name] < cuda[name] <= 0.7 * cpu[name] and engines[name] == cuda[name]


def test_rates_are_written_as_people_read_them():
    def line(token):
        return RunEstimate(None, ASSUMED_GPU.bandwidth / token, None, 8, 4, 0.0, 0.0).line(ASSUMED_GPU, "it")

    for rate, text in ((0.523, "0.52"), (6.51, "6.5"), (648, "650"), (41234, "41,000")):
        assert line(rate) == f"time of a run on it: {text} tokens/s at most"
