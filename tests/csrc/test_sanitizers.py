"""A part of `python tests/sanitizers.py`: the threads of the scheduler, of kernels and of a host under
ThreadSanitizer. What reads files runs under AddressSanitizer in test_fuzz.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import fuzz
import sanitizers
from native import build_core, make_environment

pytestmark = pytest.mark.slow
TESTS = ("test_threads", "test_team", "test_held")
RACE = """
#include <thread>
int main() {
  int x = 0;
  std::thread other([&] { x = 1; });
  x = 2;
  other.join();
  return x - x;
}
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thread")
    compiler = fuzz.find_compiler(folder)
    command = [str(compiler), "-fsanitize=thread", "-x", "c++", "-", "-o", str(folder / "race"), "-pthread"]
    if compiler is None or subprocess.run(command, input=RACE, text=True, capture_output=True).returncode:
        pytest.skip("no C++ compiler here has ThreadSanitizer")
    settings = sanitizers.settings("thread", "Debug") + ["-DCMAKE_CXX_FLAGS_DEBUG=-O0 -g1"]
    return build_core(folder / "build", *settings, targets=(*TESTS, "chat_host"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_environment(tmp_path_factory.mktemp("models"), packed=False) | sanitizers.options("thread")


def test_a_race_is_found(build: Path, environment: dict[str, str]) -> None:
    found = subprocess.run([build.parent / "race"], env=environment, capture_output=True, text=True)
    assert found.returncode != 0 and "data race" in found.stderr


def test_scheduler_and_kernels(build: Path, environment: dict[str, str]) -> None:
    result = sanitizers.run_tests(build, environment, *TESTS)
    assert result.returncode == 0, result.stdout[-10000:]
    assert result.stdout.count("   Passed ") == len(TESTS), result.stdout


def test_host(build: Path, environment: dict[str, str], tmp_path: Path) -> None:
    result = sanitizers.run_host(build, environment, tmp_path, sanitizers.QUESTIONS[:1])
    assert result.returncode == 0, result.stderr[-10000:]
    assert "red circle" in result.stdout
