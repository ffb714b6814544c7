"""The command line: help, exit codes, output; with a bundle where a command needs one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import g4v

from .command_line import assert_one_line_error, without
from .command_line import g4v as run

COMMANDS = ("chat", "generate", "inspect", "doctor", "bench")


def test_version():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"g4v {g4v.__version__}\n", "")


def test_help_tells_everything():
    done = run("--help")
    assert done.returncode == 0
    for word in (*COMMANDS, "examples:", "exit codes: 0 done, 1 failed, 2 wrong usage"):
        assert word in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command):
    done = run(command, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert "examples:" in done.stdout and f"g4v {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "COMMAND"),
        (("dance",), "invalid choice: 'dance'"),
        (("chat", "--seed", "x"), "invalid int value: 'x'"),
        (("chat", "--device", "tpu"), "invalid choice: 'tpu'"),
        (("chat", "--what"), "unrecognized arguments: --what"),
        (("generate",), "PROMPT"),
        (("generate", "a red circle", "--out", "x.avi"), ".mp4, .webm, .gif"),
        (("inspect",), "BUNDLE"),
        (("inspect", "tiny", "--verify", "no"), "invalid choice: 'no'"),
        (("bench", "--runs", "0"), "--runs is 0"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, part):
    assert_one_line_error(run(*arguments), 2, part, "--help")


def test_doctor_reports_every_part():
    done = run("doctor", "--json")
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert done.returncode == (0 if report["ok"] else 1)
    for name in (
        "python",
        "core",
        "onnxruntime",
        "providers",
        "device cpu",
        "device auto",
        "cpu",
        "write .mp4",
    ):
        assert checks[name]["state"] == "ok", checks[name]
    lines = run("doctor").stdout.splitlines()
    assert len(lines) == len(report["checks"])
    assert all(line[:5] in ("ok   ", "no   ", "fail ") for line in lines)


def test_doctor_names_the_fix_for_two_flavours_of_onnxruntime(tmp_path):
    package = tmp_path / "onnxruntime_gpu-1.31.1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.31.1\n")
    done = run("doctor", env=without("a_module_of_no_importance", tmp_path))
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if "overwrite each other" in line)
    assert "pip uninstall -y onnxruntime && pip install --force-reinstall --no-deps onnxruntime-gpu" in line


def test_doctor_says_that_pyav_is_missing(tmp_path):
    done = run("doctor", env=without("av", tmp_path))
    assert done.returncode == 1 and done.stderr == ""
    assert any(line.startswith("fail pyav: ") for line in done.stdout.splitlines())


def test_import_is_light():
    script = (
        "import sys, g4v; print([m for m in ('numpy', 'av', 'onnxruntime', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_closed_pipe_is_quiet():
    # `head -c 1` leaves after one byte; the report is written line by line after that.
    command = f"{sys.executable} -u -m g4v doctor | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("o", "")
