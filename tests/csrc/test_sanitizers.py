"""A part of `python tests/sanitizers.py`: the threads of the scheduler, of kernels and of a host under
ThreadSanitizer. What reads files runs under AddressSanitizer in test_fuzz.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import sanitizers
from native import make_environment
from native_builds import RACE_TESTS

pytestmark = pytest.mark.slow
NATIVE_BUILD = "thread"


@pytest.fixture(scope="module")
def build(native_build: Path) -> Path:
    return native_build / "build"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_environment(tmp_path_factory.mktemp("models"), packed=False) | sanitizers.options("thread")


def test_a_race_is_found(build: Path, environment: dict[str, str]) -> None:
    found = subprocess.run([build.parent / "race"], env=environment, capture_output=True, text=True)
    assert found.returncode != 0 and "data race" in found.stderr


def test_scheduler_and_kernels(build: Path, environment: dict[str, str]) -> None:
    result = sanitizers.run_tests(build, environment, *RACE_TESTS)
    assert result.returncode == 0, result.stdout[-10000:]
    assert result.stdout.count("   Passed ") == len(RACE_TESTS), result.stdout


def test_host(build: Path, environment: dict[str, str], tmp_path: Path) -> None:
    result = sanitizers.run_host(build, environment, tmp_path, sanitizers.QUESTIONS[:1])
    assert result.returncode == 0, result.stderr[-10000:]
    assert "red circle" in result.stdout
