"""examples/: files that start `g4v serve` elsewhere, checked as far as this machine can."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from g4v.cli import build_parser

from .pages import ROOT

EXAMPLES = ROOT / "examples"
UNIT = EXAMPLES / "g4v.service"


def parsed(words: list[str]) -> object:
    """The arguments of g4v; a wrong one ends the test."""
    return build_parser().parse_args(words)


def exec_start() -> list[str]:
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    return shlex.split(line)


def test_the_command_of_the_unit() -> None:
    found = vars(parsed(exec_start()[1:]))  # type: ignore[arg-type]
    assert found["command"] == "serve" and str(found["api_key_file"]).endswith("/keys")


def test_the_unit_leaves_time_to_end() -> None:
    found = vars(parsed(exec_start()[1:]))  # type: ignore[arg-type]
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text("utf-8"), re.MULTILINE)
    assert int(seconds) > found["drain"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not at hand")
def test_systemd_knows_all_of_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text("utf-8").replace(exec_start()[0], sys.executable), "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and UNIT.name not in done.stderr, done.stderr
    help_ = subprocess.run(["systemd-analyze", "--help"], capture_output=True, text=True, timeout=60).stdout
    if "--offline" in help_:
        command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout  # 2.5 of 10, where 10 is a service that may do all


def test_compose() -> None:
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load((EXAMPLES / "compose.yaml").read_text("utf-8"))
    service = found["services"]["g4v"]
    arguments = vars(parsed(service["command"]))  # type: ignore[arg-type]
    assert int(service["stop_grace_period"].removesuffix("s")) > arguments["drain"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert str(arguments["api_key_file"]) == f"/run/secrets/{service['secrets'][0]}"
    assert set(service["secrets"]) == set(found["secrets"])
    (volume,) = service["volumes"]
    name, folder = volume.split(":")
    assert name in found["volumes"] and str(arguments["media_dir"]).startswith(folder)
    assert service["read_only"] and "no-new-privileges:true" in service["security_opt"]
    assert (EXAMPLES / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_the_command_of_the_image() -> None:
    text = (EXAMPLES / "Dockerfile").read_text("utf-8")
    (command,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    arguments = vars(parsed(json.loads(command)))  # type: ignore[arg-type]
    assert arguments["host"] == "0.0.0.0" and arguments["api_key_file"]
    copied = re.findall(r'pip install .*"/src\[(\w+)\]"', text)
    assert copied == ["serve"] and re.search(r"^USER (?!root)\w+$", text, re.MULTILINE)
