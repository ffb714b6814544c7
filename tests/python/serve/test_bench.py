"""`g4v bench serve`: its plan, its figures, and a run against a real server."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from g4v import cli
from g4v.cli.bench_serve import _base, _key, _mix
from g4v.cli.units import seconds_of
from g4v.errors import ArgumentError
from g4v.serve.bench import client, report, server_metrics
from g4v.serve.bench.client import Outcome
from g4v.serve.bench.load import Measured
from g4v.serve.bench.plan import KINDS, Planned, body, plan

from .process import Server

MIX = {"text": 6.0, "video": 3.0, "generation": 1.0}


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    assert plan(5, 10, MIX, 0.3, 1, 4) == plan(5, 10, MIX, 0.3, 1, 4) != plan(5, 10, MIX, 0.3, 2, 4)


def test_a_plan_has_the_rate_the_mix_and_the_disconnects() -> None:
    found = plan(20, 500, MIX, 0.2, 3, 4)
    count = len(found)
    assert abs(count - 10_000) < 5 * math.sqrt(10_000)
    gaps = [b.at - a.at for a, b in zip(found, found[1:], strict=False)]
    # Exponential: the deviation is the mean, 1/20.
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert 0.95 < deviation / mean < 1.05
    kinds = Counter(one.kind for one in found)
    assert abs(kinds["text"] / count - 0.6) < 0.03 and abs(kinds["generation"] / count - 0.1) < 0.02
    early = [one for one in found if one.leaves is not None]
    assert abs(len(early) / count - 0.2) < 0.02
    assert abs(sum(one.stream for one in early) / len(early) - 0.5) < 0.05
    assert all(one.stream for one in found if one.leaves is None)


def test_a_kind_of_no_weight_does_not_come() -> None:
    assert {one.kind for one in plan(50, 10, {"video": 1.0}, 0, 0, 1)} == {"video"}


def test_bodies() -> None:
    asked = {kind: Planned(0, kind, "What?", 1, 7, True, None) for kind in KINDS}
    text = body(asked["text"], ["a", "b"], 5, 3)
    assert text["modalities"] == ["text"] and text["max_completion_tokens"] == 5
    assert "num_inference_steps" not in text
    assert body(asked["video"], ["a", "b"], None, None)["messages"][0]["content"][1]["video_url"] == {
        "url": "b"
    }
    made = body(asked["generation"], [], None, 3)
    assert made["modalities"] == ["text", "video"] and made["num_inference_steps"] == 3


def test_percentiles_are_values_that_were_measured() -> None:
    assert report.percentiles([]) is None
    assert report.percentiles([0.001]) == {"p50": 1.0, "p95": 1.0, "p99": 1.0}
    found = report.percentiles([k / 1000 for k in range(1, 101)])
    assert found == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_figures_count_each_request_once() -> None:
    outcomes = [
        Outcome("text", status=200, first=0.1, gaps=[0.01, 0.02, 0.01], whole=0.2),
        Outcome("text", status=200, first=0.3, gaps=[0.01], whole=0.5),
        Outcome("text", status=200, first=0.1, gaps=[0.9, 0.9], whole=2.0),
        Outcome("text", status=429, error="queue_full"),
        Outcome("video", status=200, first=0.1, left=True),
        Outcome("video", status=200, error="stream_cut"),
        Outcome("generation", status=200, videos={"completed": 1}),
    ]
    found = report.figures(Measured(outcomes, spent=10.0), first=0.2, between=0.1)
    assert (found["sent"], found["completed"], found["good"]) == (7, 4, 1)
    assert (found["rejected"], found["left_early"], found["errors"]) == (1, 1, {"stream_cut": 1})
    assert found["goodput_per_s"] == 0.1 and found["videos"] == {"completed": 1}
    assert found["slots_lost"] is None and found["memory"] is None and found["queue_ms"] is None
    assert report.figures(Measured(outcomes, spent=10.0))["good"] == 4
    for text in ("429", "not told", "1 completed", "stream_cut"):
        assert text in report.table(found)


def test_videos_count_by_their_last_status() -> None:
    error = {"code": "queue_full", "message": "..."}
    told = (
        {"index": 0, "status": "queued"},
        {"index": 1, "status": "failed", "error": error},
        {"index": 2, "status": "failed", "error": error},
        {"index": 0, "status": "completed", "error": None},
    )
    chunks = [json.dumps({"choices": [{"delta": {"videos": [video]}}]}) for video in told]
    lines = [f"data: {text}\n".encode() for text in (*chunks, "[DONE]")]
    content = SimpleNamespace(readuntil=AsyncMock(side_effect=[*lines, b""]))
    outcome = Outcome("generation", status=200)
    asked = Planned(0, "generation", "?", 1, 7, True, None)
    asyncio.run(client._read_stream(SimpleNamespace(content=content), asked, outcome, 0.0))  # type: ignore[arg-type]
    assert outcome.ok and outcome.videos == {"completed": 1, "failed: queue_full": 2}


def test_memory_is_compared_with_that_of_a_warm_server() -> None:
    memory = [(0.0, 100.0), (9.0, 150.0), (10.0, 200.0), (50.0, 260.0), (100.0, 220.0)]
    found = report.figures(Measured(memory=memory, spent=100.0))["memory"]
    assert found["warm_bytes"] == 200 and found["growth"] == 0.1 and found["most_bytes"] == 260


def test_histograms_of_a_server() -> None:
    buckets = "".join(f'x_bucket{{{{le="{edge}"}}}} {{}}\n' for edge in ("0.1", "1.0", "+Inf"))
    page = f"# HELP x\n{buckets}x_sum {{}}\nx_count {{}}"
    before = server_metrics.parse(page.format(1, 1, 1, 0.05, 1))
    after = server_metrics.parse(page.format(1, 4, 5, 10.05, 5))
    assert server_metrics.quantile(before, after, "x", 0.5) == 1.0
    assert server_metrics.quantile(before, after, "x", 0.99) == math.inf
    assert server_metrics.mean(before, after, "x") == 2.5
    assert server_metrics.quantile(after, after, "x", 0.5) is None
    assert server_metrics.mean(after, after, "x") is None


@pytest.mark.parametrize(("text", "seconds"), [("200ms", 0.2), ("1.5", 1.5), ("5m", 300), ("1h", 3600)])
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "0ms", "-1", "1w", "nan", "\u0661"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds_of(text)


@pytest.mark.parametrize(
    "text", ["", "text", "text=-1", "text=0", "text=1,text=2", "chat=1", "text=1;video=1"]
)
def test_what_is_no_mix(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        _mix(text)


def test_bases() -> None:
    for url in ("http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/"):
        assert _base(url) == "http://a:1"
    assert _base("https://a.org/chat/v1") == "https://a.org/chat"
    for url in ("a:1", "ftp://a", "http://", "http://u:p@a", "http://a:x", "http://[::1"):
        with pytest.raises(ArgumentError, match="is no URL of a server"):
            _base(url)


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with pytest.raises(ArgumentError, match="cannot be read"):
        _key(path)
    path.write_text("# first\n\n  abc  \ndef\n", "utf-8")
    assert _key(path) == "abc"
    path.write_text("# none\n", "utf-8")
    with pytest.raises(ArgumentError, match="write one"):
        _key(path)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--url", "http://127.0.0.1:9", "--duration", "1s"], 1, "cannot be measured"),
        (["--url", "nowhere"], 2, "is no URL of a server"),
        (["--clip", "/nowhere.mp4"], 1, "cannot be read"),
        (["--rate", "100000", "--duration", "1d"], 2, "ask for less"),
    ],
)
def test_what_cannot_be_measured(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "serve", *arguments]) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_options_of_the_other_bench_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--runs", "3", "serve"]) == 2
    assert "--runs is of g4v bench without serve" in capsys.readouterr().err


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("g4v.serve.bench")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert cli.main(["bench", "serve"]) == 1
    assert 'install it with: pip install "g4v[bench]"' in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_server(tmp_path: Path) -> None:
    key = "key-of-the-load-0123456789"
    (tmp_path / "keys").write_text(key, "utf-8")
    options = ("--threads", "1", "--max-running", "1", "--max-queued", "1")
    with Server(tmp_path, "--api-key-file", str(tmp_path / "keys"), *options, key=key) as server:

        def run(*options: str) -> str:
            command = [sys.executable, "-m", "g4v", "bench", "serve", "--url", server.url]
            command += ["--api-key-file", str(tmp_path / "keys"), "--steps", "1", *options]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        load = ("--rate", "40", "--duration", "2s", "--disconnect", "0.3", "--max-tokens", "12")
        found: dict[str, Any] = json.loads(run(*load, "--json"))
        told = sum(found[name] for name in ("completed", "rejected", "left_early"))
        assert told + sum(found["errors"].values()) == found["sent"] == len(plan(40, 2, MIX, 0.3, 0, 8))
        assert found["completed"] > 0 and found["left_early"] > 0 and not found["errors"], found
        assert found["slots_lost"] == 0 and found["memory"]["last_bytes"] > 10e6
        assert found["queue_ms"]["mean"] >= 0 and found["first_token_ms"]["p50"] > 0
        assert server.metric("g4v_requests_running") == 0
        rejected = server.metric('g4v_requests_total{outcome="rejected",route="/v1/chat')
        assert 0 <= rejected - found["rejected"] <= found["left_early"]  # who leaves does not see the refusal
        text = run("--rate", "5", "--duration", "1s")
        assert "first token" in text and json.loads(text.splitlines()[-1])["slots_lost"] == 0
