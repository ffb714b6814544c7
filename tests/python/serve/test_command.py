"""`g4v serve`: its options, and what it refuses before it serves."""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from g4v import cli
from g4v._command import seconds, size


@pytest.mark.parametrize(
    ("text", "bytes"), [("1", 1), ("64M", 64 << 20), ("2G", 2 << 30), ("3kb", 3 << 10), ("1TiB", 1 << 40)]
)
def test_sizes(text: str, bytes: int) -> None:
    assert size(text) == bytes


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("30s", 30), ("1.5m", 90), ("24h", 86400), ("7d", 604800)]
)
def test_times(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5G", "1X", "M", "1 G", "\u0661", "9" * 13])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        size(text)


@pytest.mark.parametrize("text", ["", "-1", "1w", "s", "nan", "inf", "1e3"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--api-key-file"),
        (["--host", "::"], "--api-key-file"),
        (["--allowed-media-domain", "127.0.0.1"], "is not a domain name"),
        (["--allowed-media-domain", "https://a.org/"], "is not a domain name"),
        (["--allowed-media-domain", "*.a.org"], "is not a domain name"),
        (["--api-key-file", "/nowhere/keys"], "cannot be read"),
        (["--host", "192.0.2.1", "--no-auth"], "cannot listen on 192.0.2.1 port 0"),
    ],
)
def test_what_cannot_be_served(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "--port", "0", "--media-dir", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("g4v: error: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--port", "65536"], ["--max-running", "0"], ["--kv-memory", "0"], ["--x"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as found:
        cli.main(["serve", *arguments])
    assert found.value.code == 2


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err


def test_a_bundle_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--port", "0", "--bundle", str(tmp_path / "x")]) == 1
    assert "neither an embedded bundle" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert cli.main(["serve", "--port", "0", "--media-dir", str(tmp_path / "file" / "media")]) == 1
    assert "--media-dir" in capsys.readouterr().err


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("g4v.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["serve"]) == 1
    assert 'uvicorn is missing; install it with: pip install "g4v[serve]"' in capsys.readouterr().err


def test_other_commands_do_not_load_it() -> None:
    code = "import sys, g4v, g4v.cli; g4v.cli.build_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"starlette", "uvicorn", "uvloop", "anyio", "prometheus_client", "aiohttp", "asyncio"} & set(
        done.stdout.split()
    )
