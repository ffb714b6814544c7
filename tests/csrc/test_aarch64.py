"""The decoder's kernels on 64-bit ARM: cross-compiled, and run by an emulator."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
SOURCES = [
    "kernels/cpu/linear/linear.cc",
    "kernels/cpu/llama/paged_attention.cc",
    "kernels/cpu/llama/rms_norm.cc",
    "kernels/cpu/llama/rotary.cc",
    "kernels/cpu/team.cc",
    "kernels/cpu/dispatch.cc",
    "base/process.cc",
    "base/utf8.cc",
]


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which(COMPILER) and shutil.which(EMULATOR)), reason=f"needs {COMPILER} and {EMULATOR}"
)
@pytest.mark.parametrize("name", ["test_linear", "test_paged_attention", "test_team"])
def test_kernels(name, tmp_path):
    """With the dot products of NEON and without: processors that lack them take the plain version."""
    program = tmp_path / name
    command = [COMPILER, "-static", "-std=c++20", "-O2", "-Wall", "-Wextra", "-ffp-contract=off", "-Icsrc"]
    sources = [f"tests/csrc/{name}.cc", *(f"csrc/{source}" for source in SOURCES)]
    subprocess.run([*command, "-Itests/csrc", *sources, "-o", program], cwd=ROOT, check=True, timeout=300)
    for processor in ("max", "cortex-a53"):
        done = subprocess.run(
            [EMULATOR, "-cpu", processor, program], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
