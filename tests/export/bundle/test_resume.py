"""Stopping an export, and going on from there."""

import os
import shutil

import pytest

from g4v.export.__main__ import main
from g4v.export.bundle import writer
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.adapter import Adapter
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.errors import ExportError


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith("report.")}


def stop_at(component):
    """A progress callback that is Ctrl-C."""

    def progress(name, share):
        if name == component:
            raise KeyboardInterrupt

    return progress


def stopped(run, out, component="decoder", **options):
    with pytest.raises(KeyboardInterrupt):
        export_bundle(run, out, progress=stop_at(component), **options)
    return out.with_name(f".{out.name}.partial")


def going_on(run, out, **options):
    """Exports; returns what was there already."""
    lines = []
    export_bundle(run, out, report=lines.append, **options)
    return [line.split()[1].rstrip(":") for line in lines if line.endswith("is there already")]


@pytest.mark.slow
def test_the_same_command_goes_on(run, bundle, tmp_path):
    out = tmp_path / "out"
    partial = stopped(run, out)
    assert partial.is_dir() and not out.exists()
    assert going_on(run, out) == ["encoder", "abstractor"]
    assert contents(out) == contents(bundle)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_what_other_versions_of_the_libraries_wrote_is_written_anew(run, tmp_path, monkeypatch):
    stopped(run, tmp_path / "out")
    monkeypatch.setattr("g4v.export.bundle.export.package_versions", lambda: {"torch": "1.0"})
    assert going_on(run, tmp_path / "out") == []


def test_nothing_is_kept_where_nothing_is_done(run, tmp_path):
    stopped(run, tmp_path / "out", "encoder")
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing(run, tmp_path):
    bad = shutil.copytree(run, tmp_path / "bad")
    (bad / "adapter" / "adapter_config.json").write_text("{")
    with pytest.raises(ExportError):
        export_bundle(bad, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["bad"]


@pytest.mark.slow
def test_other_settings_and_other_weights_start_anew(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    out = tmp_path / "out"
    stopped(copy, out)
    assert going_on(copy, out, store_as_float16=True) == []
    out = tmp_path / "again"
    stopped(copy, out)
    file = copy / "encoder" / "model.safetensors"
    os.utime(file, ns=(1, 1))
    assert going_on(copy, out) == []


@pytest.mark.slow
def test_an_adapter_of_another_weight_starts_anew(run, tmp_path):
    def weighing(weight):
        return Overrides(adapters=[Adapter(run / "adapter", weight)])

    out = tmp_path / "out"
    stopped(run, out, "text_encoder", overrides=weighing(1.0))
    assert going_on(run, out, overrides=weighing(0.5)) == []


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["damage", "junk", "list"])
def test_what_was_harmed_is_made_again(run, bundle, tmp_path, harm):
    out = tmp_path / "out"
    partial = stopped(run, out)
    if harm == "damage":
        data = bytearray((partial / "bundle" / "encoder.data").read_bytes())
        data[100] ^= 1
        (partial / "bundle" / "encoder.data").write_bytes(data)
    else:
        (partial / "finished.json").write_text("{" if harm == "junk" else "[]")
    (partial / "bundle" / "stray.data").write_bytes(b"left over")
    assert going_on(run, out) == (["abstractor"] if harm == "damage" else [])
    assert contents(out) == contents(bundle)


def test_one_export_at_a_time(run, tmp_path):
    out = tmp_path / "out"

    def second(name, share):
        with pytest.raises(ExportError, match="another export is writing there"):
            export_bundle(run, out)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(run, out, progress=second)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_says_how_to_go_on(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(writer, "check_fit", _interrupt)
    words = ["--checkpoint", str(run), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 130
    error = capsys.readouterr().err
    assert (
        error.startswith("g4v.export: error: interrupted; the same command goes on")
        and error.count("\n") == 1
    )
    monkeypatch.undo()
    assert main(words) == 0 and (tmp_path / "out" / "g4v.json").exists()


def _interrupt(components):
    raise KeyboardInterrupt
