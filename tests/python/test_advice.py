"""Refusals name the true cause, before any work, and a way out; the way out is tried where it can be."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from g4v._command import writable_file

from .command_line import assert_one_line_error
from .command_line import g4v as run
from .video_samples import gray_frames, write_video

TINY = Path(__file__).parents[2] / "python" / "g4v" / "checkpoints" / "tiny"  # in no wheel


def program(module: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, **options)


def test_a_full_context_and_a_new_chat(bundle_dir, tmp_path):
    long = "many words " * 30
    lines = f"{long}a\n" * 20 + "/new\nSay a\n"
    done = run("chat", "--bundle", bundle_dir, "--out", tmp_path, input=lines)
    assert done.returncode == 1 and done.stderr.count("\n") > 5
    for line in done.stderr.splitlines():
        assert "start a new chat" in line and line.endswith("(/new starts a new chat)")
    assert done.stdout.endswith("A new chat.\nHello, world.\n")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere.so", "cannot open shared object file"),
        ("empty", "no libonnxruntime in that folder"),
        ("libm.so.6", "it is not ONNX Runtime"),
    ],
)
def test_the_variable_that_names_the_library(bundle_dir, tmp_path, name, reason):
    """To install another one would change nothing; to take the variable away does."""
    (tmp_path / "empty").mkdir()
    named = name if name == "libm.so.6" else str(tmp_path / name)
    arguments = ("chat", "--bundle", bundle_dir, "--prompt", "Say a")
    done = run(*arguments, env={**os.environ, "G4V_ONNXRUNTIME": named})
    assert_one_line_error(done, 1, "from $G4V_ONNXRUNTIME", reason, "or nothing to have the installed one")
    assert run(*arguments, env={**os.environ, "G4V_ONNXRUNTIME": ""}).returncode == 0


def test_verify_asks_for_the_run_before_it_reads_a_file(tmp_path):
    for option, what in (
        ("--llm", "a part in place of the run's"),
        ("--calibration-video", "what is compared"),
    ):
        done = run("verify", "tiny", option, "x")
        assert_one_line_error(done, 2, f"{option} names {what}", "name the run too, with --base")


def test_a_file_of_a_bundle_that_is_none(bundle_dir, tmp_path):
    import shutil

    copy = shutil.copytree(bundle_dir, tmp_path / "bundle")
    (copy / "encoder.onnx").unlink()
    (copy / "encoder.onnx").mkdir()
    done = run("inspect", copy)
    assert_one_line_error(done, 1, "encoder.onnx (not a file)", "check their rights, or copy it again")


class TestOutputs:
    """What is written at the end is looked at before the work."""

    def test_the_type_of_an_argument(self, tmp_path, monkeypatch):
        file = tmp_path / "file"
        file.touch()
        assert writable_file(str(file)) == file
        assert writable_file(str(tmp_path / "none" / "yet.json")).name == "yet.json"
        for text, message in (
            (tmp_path, "is a folder; name a file"),
            (file / "below.json", f"{file} is a file, and no folder"),
        ):
            with pytest.raises(argparse.ArgumentTypeError, match=message):
                writable_file(str(text))
        monkeypatch.setattr(os, "access", lambda place, mode: False)
        with pytest.raises(argparse.ArgumentTypeError, match="no permission in"):
            writable_file(str(file))

    @pytest.mark.parametrize(
        ("module", "arguments", "option"),
        [
            ("g4v.eval", ("shapes",), "--json"),
            ("g4v.eval", ("shapes",), "--save-sheet"),
            ("g4v.eval", ("safety",), "--json"),
            ("g4v.eval", ("videoqa", "x.json", "--format", "msvd-qa"), "--json"),
            ("g4v.data", ("replies", "--llm", "x"), "--out"),
        ],
    )
    def test_of_the_commands(self, tmp_path, module, arguments, option):
        done = program(module, *arguments, option, tmp_path)
        assert_one_line_error(done, 2, f"argument {option}: {tmp_path} is a folder; name a file")

    def test_a_contact_sheet_replaces_no_program(self, tmp_path):
        sheet = tmp_path / "sheet.py"
        sheet.write_text("print()")
        done = program("g4v.eval", "shapes", "--save-sheet", sheet)
        assert_one_line_error(done, 2, "the name of a contact sheet ends in .png")
        assert sheet.read_text() == "print()"

    @pytest.mark.parametrize(
        ("module", "arguments"),
        [
            ("g4v.train", ("stage1", "--base", TINY, "--data", "x.json")),
            pytest.param("g4v.train", ("tiny",), marks=pytest.mark.slow),
            ("g4v.data", ("shapes", "--format", "msvd-qa")),
        ],
    )
    def test_a_file_in_place_of_a_folder(self, tmp_path, module, arguments):
        file = tmp_path / "sheet.py"
        file.touch()
        done = program(module, *arguments, "--out", file)
        assert done.returncode in (1, 2) and done.stderr.count("\n") == 1, done.stderr
        assert "error: " in done.stderr and "a file" in done.stderr and "name a folder" in done.stderr

    @pytest.mark.slow
    def test_of_a_random_checkpoint(self, tmp_path):
        file = tmp_path / "sheet.py"
        file.touch()
        done = program("g4v.export.random_checkpoint", file)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "it is a file; name a folder" in done.stderr


@pytest.mark.slow
class TestTraining:
    def test_a_base_without_a_language_model(self, tmp_path):
        (tmp_path / "base").mkdir()
        words = ("stage1", "--base", tmp_path / "base", "--out", tmp_path / "out", "--data", "x.json")
        done = program("g4v.train", *words)
        assert (
            done.returncode == 1 and "base: has no folder llm: name another run, or give --llm" in done.stderr
        )

    def test_clips_of_which_none_is_there(self, tmp_path):
        """What used to train to the end, and learned nothing."""
        data = tmp_path / "data.json"
        data.write_text('[{"video": "a.mp4", "QA": [{"q": "What moves?", "a": "A ball."}]}]')
        words = ["stage1", "--base", str(TINY), "--data", str(data), "--max-steps", "1", "--no-progress"]
        done = program("g4v.train", *words[:-1], "--out", tmp_path / "out")
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert "a.mp4 is missing, as are all others" in done.stderr and "--video-root" in done.stderr
        assert not (tmp_path / "out" / "abstractor").exists()
        (tmp_path / "clips").mkdir()
        write_video(tmp_path / "clips" / "a.mp4", gray_frames(8))
        more = ("--video-root", tmp_path / "clips", "--out", tmp_path / "out")
        done = program("g4v.train", *words[:-1], *more)
        assert done.returncode == 0 and (tmp_path / "out" / "abstractor").is_dir(), done.stderr


@pytest.mark.parametrize(("command", "words"), [("t2v", ("x.json",)), ("safety", ("--n", "0"))])
def test_nothing_to_measure_names_the_help_that_there_is(command, words):
    done = program("g4v.eval", command, *words)
    assert done.returncode == 2 and "nothing to measure: give " in done.stderr
    help_of = done.stderr.rstrip().removesuffix(")").rpartition("(see: ")[2]
    assert help_of == f"python -m g4v.eval {command} --help"
    assert program(*help_of.split()[2:]).returncode == 0
