"""A short run of every fuzzer: its corpus, which holds an input for each fault that was found, and some
seconds of changed inputs. The long run is `python tests/fuzz.py`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import fuzz
from g4v.errors import VideoError
from python.fuzz.__main__ import check

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
SECONDS = 2  # for each target


NATIVE_BUILD = "fuzz"


@pytest.fixture(scope="module")
def programs(native_build: Path) -> Path:
    """The fuzz targets, and the test of the kernels."""
    return native_build


@pytest.mark.parametrize("name", fuzz.CPP)
def test_cpp(name: str, programs: Path) -> None:
    figures = fuzz.run_cpp(name, programs, SECONDS)
    assert not figures["findings"], figures["findings"]
    assert figures["inputs"] > 20


def test_cpu_kernels(programs: Path) -> None:
    """No step outside a buffer and no undefined arithmetic in the kernels; the operands of their test fill
    their buffers. What looks for races is test_sanitizers.py.
    """
    result = subprocess.run([str(programs / "test_cpu_kernels")], capture_output=True, text=True)
    assert result.returncode == 0 and " 0 failures" in result.stderr, result.stderr[-3000:]


@pytest.mark.parametrize("name", fuzz.PYTHON)
def test_python(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    figures = fuzz.run_python(name, tmp_path_factory.getbasetemp() / "python-fuzz", SECONDS)
    assert not figures["findings"], figures["findings"]
    assert figures["inputs"] > 5


FAULTY = """
#include <cstdint>
#include <cstdlib>
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 2 && data[0] == 'f' && data[1] == 'a') std::abort();
  return 0;
}
"""


def test_the_driver_finds_a_fault_and_keeps_the_input(tmp_path: Path) -> None:
    """The driver that stands in for libFuzzer, on a target that aborts; a seed gives the same input again."""
    compiler = fuzz.find_compiler(tmp_path)
    if compiler is None:
        pytest.skip("no C++ compiler here has AddressSanitizer and UndefinedBehaviorSanitizer")
    csrc = ROOT / "csrc"
    sources = [
        fuzz.SOURCES / "driver.cc",
        *(csrc / "base" / name for name in ("json.cc", "json_parser.cc", "utf8.cc")),
    ]
    (tmp_path / "target.cc").write_text(FAULTY)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "seed").write_bytes(b"gate")
    program = tmp_path / "program"
    command = [
        compiler,
        "-std=c++20",
        "-O0",
        fuzz.SANITIZERS,
        f"-I{csrc}",
        *map(str, sources),
        "-o",
        str(program),
    ]
    subprocess.run([*command, str(tmp_path / "target.cc")], check=True)
    found = []
    for name in ("one", "two"):
        flags = ["-runs=100000", "-seed=3", f"-artifact_prefix={tmp_path}/{name}-"]
        result = subprocess.run(
            [str(program), *flags, str(tmp_path / "corpus")], capture_output=True, text=True
        )
        assert result.returncode != 0 and "AddressSanitizer: ABRT" in result.stderr
        (kept,) = tmp_path.glob(f"{name}-crash-*")
        found.append(kept.read_bytes())
        assert subprocess.run([str(program), str(kept)], cwd=tmp_path, capture_output=True).returncode
    assert found[0] == found[1] and found[0].startswith(b"fa")


class Raises:
    """A target of the Python fuzzers that raises what it is given."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def run(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "accepted", "why"),
    [
        (None, True, ""),
        (VideoError("one line"), False, ""),
        (VideoError("two\nlines"), False, "a message that is no line"),
        (VideoError(""), False, "a message that is no line"),
        (ValueError("x"), False, "ValueError: x"),
        (MemoryError(), False, "MemoryError"),
    ],
)
def test_what_counts_as_a_finding(error: BaseException | None, accepted: bool, why: str) -> None:
    found = check(Raises(error), b"")
    assert found[0] == accepted and found[1].startswith(why) and bool(found[1]) == bool(why)
