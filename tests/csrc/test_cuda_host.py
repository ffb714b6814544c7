"""The CUDA kernels on the CPU: builds and runs the simulator of cuda_host under the sanitizers.

No CUDA is needed: the kernels' own source runs, block by block, with every GPU instruction replaced by a
function that does what the PTX manual says. About three minutes of two cores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from xml.etree import ElementTree

import pytest

HOST = Path(__file__).resolve().parent / "cuda_host"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")),
        reason="no C++ compiler",
    ),
]


def tool(name: str) -> str:
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    assert found, f"{name} was not found; `pip install {name}` brings it"
    return found


def run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuda_host") / "build"
    run(
        [
            tool("cmake"),
            "-S",
            str(HOST),
            "-B",
            str(folder),
            "-G",
            "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
        ]
    )
    run([tool("cmake"), "--build", str(folder), "--parallel", "2"])
    return folder


@pytest.fixture(scope="module")
def reports(build: Path) -> dict[str, ElementTree.Element]:
    """What CTest says of each program; they have one thread each, and run two at a time."""
    file = build / "report.xml"
    command = [tool("ctest"), "--test-dir", str(build), "--parallel", "2", "--output-junit", str(file)]
    subprocess.run(command, capture_output=True)
    return {str(case.get("name")): case for case in ElementTree.parse(file).getroot().iter("testcase")}


@pytest.mark.parametrize(
    "name",
    [
        "test_device",
        "test_wgmma",
        "test_plan",
        "test_attention",
        "test_warpgroup",
        "test_library",
        "test_races",
        "test_races_finds_one",
    ],
)
def test_on_the_cpu(reports: dict[str, ElementTree.Element], name: str) -> None:
    case = reports[name]
    assert case.get("status") == "run" and case.find("failure") is None, case.findtext("system-out")
