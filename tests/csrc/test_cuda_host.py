"""The CUDA kernels on the CPU: builds and runs the simulator of cuda_host under the sanitizers.

No CUDA is needed: the kernels' own source runs, block by block, with every GPU instruction replaced by a
function that does what the PTX manual says. About three minutes of two cores.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from native import tool

pytestmark = pytest.mark.slow
NATIVE_BUILD = "cuda_host"


@pytest.fixture(scope="module")
def reports(native_build: Path) -> dict[str, ElementTree.Element]:
    """What CTest says of each program; they have one thread each, and run two at a time."""
    file = native_build / "report.xml"
    command = [tool("ctest"), "--test-dir", str(native_build), "--parallel", "2", "--output-junit", str(file)]
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
