"""Kernels on other processors than this machine's, run by an emulator: 64-bit ARM, with the dot products of
NEON and without, and x86 without AVX and with AVX2 alone. AVX-512 and AMX have no emulator here.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "test_linear": ["linear/linear"],
    "test_paged_attention": ["linear/linear", "llama/paged_attention", "llama/rms_norm", "llama/rotary"],
    "test_team": ["team"],
    "test_norms": ["norm/norms", "thread_pool"],
    "test_winograd": ["convolution/winograd", "thread_pool"],
    "test_dispatch": [],
}
COMMON = ["csrc/kernels/cpu/dispatch.cc", "csrc/base/utf8.cc", "csrc/base/process.cc"]

pytestmark = pytest.mark.slow


def build(compiler: str, name: str, folder: Path, *more: str) -> Path:
    """A test program without shared libraries."""
    program = folder / name
    command = [compiler, "-static", "-std=c++20", "-O1", "-Wall", "-Wextra", "-ffp-contract=off"]
    kernels = [f"csrc/kernels/cpu/{source}.cc" for source in SOURCES[name]]
    command += [
        "-Icsrc",
        "-Itests/csrc",
        f"tests/csrc/{name}.cc",
        *kernels,
        *COMMON,
        *more,
        "-o",
        str(program),
    ]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)
    return program


def run(emulator: str, processor: str, program: Path) -> str:
    """What the program says on a processor."""
    done = subprocess.run(
        [emulator, "-cpu", processor, str(program)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


ARM = "aarch64-linux-gnu-g++", "qemu-aarch64"


@pytest.mark.skipif(not all(map(shutil.which, ARM)), reason=f"needs {' and '.join(ARM)}")
@pytest.mark.parametrize("name", ["test_linear", "test_paged_attention", "test_team", "test_dispatch"])
def test_arm(name: str, tmp_path: Path) -> None:
    """A Cortex-A53 has no dot products, and takes the plain version."""
    program = build(ARM[0], name, tmp_path)
    for processor, has in (("max", True), ("cortex-a53", False)):
        told = run(ARM[1], processor, program)
        assert name == "test_team" or ("neon: skipped" in told) != has


@pytest.mark.skipif(platform.machine() != "x86_64", reason="builds for this machine, which is no x86")
@pytest.mark.skipif(
    not (shutil.which("c++") and shutil.which("qemu-x86_64")), reason="needs c++ and qemu-x86_64"
)
@pytest.mark.parametrize("name", ["test_linear", "test_norms", "test_winograd", "test_dispatch"])
def test_x86(name: str, tmp_path: Path) -> None:
    """Nothing that the processor lacks is executed: a Nehalem is from before AVX, a Haswell has AVX2."""
    program = build("c++", name, tmp_path, "csrc/kernels/cpu/simd/amx.cc")
    for processor, has in (("Nehalem", False), ("Haswell", True)):
        told = run("qemu-x86_64", processor, program)
        assert ("avx2: skipped" in told) != has and "avx512: skipped" in told
