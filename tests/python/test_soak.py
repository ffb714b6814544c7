"""The soak (benchmarks/soak.py): what it finds of numbers that are known, and a few seconds of the host."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def counts(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("soak_counts")


def points(memory, threads=(), descriptors=()):
    values = zip(memory, threads or [3] * len(memory), descriptors or [5] * len(memory), strict=True)
    return [{"rss": m, "pss": m, "anonymous": m, "threads": t, "descriptors": d} for m, t, d in values]


def test_growth_is_found_through_outliers(counts):
    at = [float(k) for k in range(20)]
    level = [100.0 + k / 19 for k in range(20)]
    assert counts.growth(at, level) == pytest.approx(0.01)
    level[3] = level[11] = 400.0  # a moment of much work
    assert counts.growth(at, level) == pytest.approx(0.01, abs=0.002)


def test_what_is_not_steady(counts):
    at = [float(k) for k in range(9)]
    steady = counts.change(at, points([100.0] * 9, [3] * 8 + [4]))  # one thread is still ending
    assert counts.is_steady(steady, 0.02) and steady["more_threads"] == 0
    grown = counts.change(at, points([100.0 + k for k in at]))
    assert grown["rss"]["growth"] == pytest.approx(0.08) and not counts.is_steady(grown, 0.02)
    for name, is_steady in (
        ("rss", False),
        ("anonymous", False),
        ("pss", True),
    ):  # others' libraries are in PSS
        one = [point | {name: 100.0 + k} for k, point in enumerate(points([100.0] * 9))]
        assert counts.is_steady(counts.change(at, one), 0.02) == is_steady
    for name in ("threads", "descriptors"):
        more = counts.change(at, points([100.0] * 9, **{name: range(9)}))
        assert more[f"more_{name}"] == 6 and not counts.is_steady(more, 0.02)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_host_of_seconds(tmp_path):
    command = [sys.executable, FOLDER / "soak_host.py", "tiny", tmp_path, "3", "2", "0.01"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines and all(line["errors"] == {} for line in lines)
    assert any(line["milliseconds"] for line in lines)
