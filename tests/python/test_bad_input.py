"""Bad input from a person: one clear line, the right exit code, nothing left behind."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import g4v
from g4v import _encode, cli

from .command_line import assert_one_line_error, start, without
from .command_line import g4v as run
from .video_samples import gray_frames, write_audio, write_video


def ask(bundle_dir, folder, *arguments, prompt="Say a", **options):
    """`g4v chat` for one turn, with its videos below `folder`."""
    return run("chat", "--bundle", bundle_dir, "--out", folder, "--prompt", prompt, *arguments, **options)


# The input video.


@pytest.mark.slow
def test_unreadable_videos(bundle_dir, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    late = write_video(tmp_path / "late.mp4", gray_frames(20), index_first=False)
    late.write_bytes(late.read_bytes()[:300])
    sound = write_audio(tmp_path / "sound.mp4")
    for video, part in [
        (tmp_path / "missing.mp4", "no such file"),
        (tmp_path, "is a directory"),
        (text, "cannot be opened as a video"),
        (empty, "is empty (0 bytes)"),
        (late, "cut off before its index"),
        (sound, "sound but no picture"),
    ]:
        out = tmp_path / "out"
        assert_one_line_error(ask(bundle_dir, out, "--video", video), 1, str(video), part)
        assert not out.exists()


def test_a_truncated_video_is_answered_with_a_warning(bundle_dir, tmp_path):
    data = write_video(tmp_path / "clip.mp4", gray_frames(60), options={"g": "2"}).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 3 // 4])
    done = ask(bundle_dir, tmp_path / "out", "--video", cut)
    assert done.returncode == 0 and done.stdout.strip()
    assert done.stderr.startswith(f"g4v: warning: {cut} is damaged or cut off: ")
    assert done.stderr.count("\n") == 1


# The place for the output.


@pytest.mark.slow
def test_unwritable_output_is_found_before_the_work(tmp_path):
    file = tmp_path / "file"
    file.touch()
    # There is no such bundle: the folder is looked at first.
    for out in (file, file / "below", Path("/proc/g4v")):
        done = run("chat", "--bundle", "no-such-bundle", "--out", out, "--prompt", "x")
        assert_one_line_error(done, 1, f"the folder {out} cannot be written")
    done = run("generate", "a red circle", "--bundle", "no-such-bundle", "--out", file / "out.mp4")
    assert_one_line_error(done, 1, f"the folder {file} cannot be written")
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_made_for_nothing_is_removed(tmp_path):
    done = run("chat", "--bundle", "no-such-bundle", "--out", tmp_path / "a" / "b", "--prompt", "x")
    assert_one_line_error(done, 1, "'no-such-bundle' is neither an embedded bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["generate", "chat"])
def test_a_full_disk(bundle_dir, tmp_path, monkeypatch, capsys, command):
    class AlmostFull(io.FileIO):
        """Has room for the test of the folder, not for a video."""

        def write(self, data):
            if len(data) > 100:
                super().write(bytes(data[:100]))
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    monkeypatch.setattr(_encode, "open", lambda path, mode: AlmostFull(path, "x"), raising=False)
    if command == "generate":
        arguments = ["a red circle", "--out", str(tmp_path / "new" / "out.mp4")]
    else:
        arguments = ["--prompt", "Show me b", "--out", str(tmp_path / "new")]
    assert cli.main([command, *arguments, "--bundle", str(bundle_dir), "--steps", "1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("g4v: error: ") and error.count("\n") == 1
    assert "cannot be written: the disk is full; free some space or name another folder" in error
    assert list(tmp_path.iterdir()) == []


# The prompt.


@pytest.mark.parametrize("prompt", ["", "  \n\t "])
def test_empty_prompt(bundle_dir, tmp_path, prompt):
    assert_one_line_error(ask(bundle_dir, tmp_path, prompt=prompt), 2, "the prompt is empty")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_prompt_that_is_no_utf8(bundle_dir, tmp_path):
    done = ask(bundle_dir, tmp_path, prompt=os.fsdecode(b"a\xff\xfeb"))
    assert_one_line_error(done, 2, "the prompt is not valid")
    done = run("generate", os.fsdecode(b"\xff"), "--bundle", bundle_dir, "--out", tmp_path / "out.mp4")
    assert_one_line_error(done, 2, "the prompt is not valid")
    assert list(tmp_path.iterdir()) == []


def test_prompt_longer_than_the_context(bundle_dir, tmp_path):
    assert_one_line_error(
        ask(bundle_dir, tmp_path, prompt="many words " * 3000), 1, "tokens", "shorten the prompt"
    )
    chat = g4v.load(bundle_dir).chat(max_new_tokens=4)
    before = chat.context_used
    with pytest.raises(g4v.ContextFull):
        chat.ask("many words " * 3000)
    assert chat.context_used == before and chat.ask("few words").new_tokens > 0


def test_the_context_fills_up_turn_by_turn(bundle_dir):
    chat = g4v.load(bundle_dir).chat(max_new_tokens=4)
    with pytest.raises(g4v.ContextFull, match="start a new chat"):
        for _turn in range(chat.context_length):
            chat.ask("some words that take room " * 3 + "a")
    used = chat.context_used
    assert 0 < used <= chat.context_length
    with pytest.raises(g4v.ContextFull):
        chat.ask("some words that take room " * 3 + "a")
    assert chat.context_used == used


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--temperature", "nan"),
        ("--temperature", "-1"),
        ("--top-p", "0"),
        ("--top-p", "inf"),
        ("--top-k", "-3"),
        ("--repetition-penalty", "0"),
        ("--max-new-tokens", "0"),
        ("--steps", "0"),
        ("--guidance-scale", "nan"),
        ("--seed", "-1"),
    ],
)
def test_sampling_options_out_of_range(bundle_dir, tmp_path, option, value):
    name = option[2:].replace("-", "_")
    assert_one_line_error(
        ask(bundle_dir, tmp_path, option, value), 2, f"{name} is {value}", "g4v chat --help"
    )


# The bundle.


@pytest.fixture
def copy(bundle_dir, tmp_path):
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(bundle_dir, tmp_path / "bundle"))


def edit_manifest(folder: Path, **values: object) -> None:
    path = folder / "g4v.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def assert_refused(folder: Path, *parts: str) -> None:
    with pytest.raises(g4v.BundleError) as caught:
        g4v.load(folder)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_bundles_that_are_none(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, part in [
        (file, "file"),
        (empty, "g4v.json"),
        (tmp_path / "missing", "neither an embedded bundle"),
    ]:
        assert_refused(path, part)
        assert_one_line_error(run("inspect", path), 1, part)


def test_a_newer_bundle_names_both_versions(copy):
    edit_manifest(copy, format_version=99)
    assert_refused(copy, "99", "1")
    assert_one_line_error(run("inspect", copy), 1, "99")


def test_a_foreign_bundle(copy):
    edit_manifest(copy, format="somebody-elses")
    assert_refused(copy, "is not the manifest of a g4v bundle")
    (copy / "g4v.json").write_text("<html>404</html>")
    assert_refused(copy, "g4v.json")
    (copy / "g4v.json").write_bytes(b"\xff\xfe{}")
    assert_refused(copy, "g4v.json")


def test_every_damaged_file_is_found(copy):
    rng = np.random.default_rng(0)
    for name in json.loads((copy / "g4v.json").read_text())["files"]:
        path = copy / name
        data = path.read_bytes()
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        assert_refused(copy, name)
        path.write_bytes(data[:-1])
        assert_refused(copy, name)
        path.unlink()
        assert_refused(copy, name)
        path.write_bytes(data)
    g4v.load(copy)


def test_a_damaged_bundle_is_one_line_on_the_command_line(copy, tmp_path):
    path = copy / "decoder.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    assert_one_line_error(ask(copy, tmp_path / "out"), 1, "decoder.onnx")
    assert_one_line_error(run("inspect", copy), 1, "decoder.onnx")
    assert not (tmp_path / "out").exists()


# ONNX Runtime and the other packages.


def test_onnxruntime_is_missing(bundle_dir, tmp_path):
    env = without("onnxruntime", tmp_path / "site")
    done = ask(bundle_dir, tmp_path / "out", env=env)
    if done.returncode == 0:
        pytest.skip("the system has an ONNX Runtime of its own")
    assert_one_line_error(done, 1, "ONNX Runtime was not found", "pip install")
    named = ask(
        bundle_dir, tmp_path / "out", env={**os.environ, "G4V_ONNXRUNTIME": str(tmp_path / "none.so")}
    )
    assert_one_line_error(named, 1, "none.so", "G4V_ONNXRUNTIME")
    assert not (tmp_path / "out").exists()


def test_pyav_is_missing(bundle_dir, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", gray_frames(4))
    done = ask(bundle_dir, tmp_path / "out", "--video", clip, env=without("av", tmp_path / "site"))
    assert_one_line_error(done, 1, "PyAV cannot be loaded", "pip install av")


# Ctrl-C.


@pytest.mark.parametrize(
    "prompt",
    ["~ Say a", pytest.param("Say g", marks=pytest.mark.slow), pytest.param(None, marks=pytest.mark.slow)],
)
def test_ctrl_c(bundle_dir, tmp_path, prompt):
    """While the prompt is read, while a video of the chat is made, and while `g4v generate` works."""
    out = tmp_path / "new"
    if prompt:
        child = start("chat", "--json", "--bundle", bundle_dir, "--out", out, "--prompt", prompt)
    else:
        child = start("generate", "a slow ~ one", "--bundle", bundle_dir, "--out", out / "out.mp4")
    deadline = time.monotonic() + 60
    while not out.exists() and time.monotonic() < deadline:  # made just before the bundle is loaded
        time.sleep(0.05)
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (130, "g4v: error: interrupted\n")
    assert list(tmp_path.iterdir()) == []
