"""Building the core and what its C++ tests read: graphs, bundles, where ONNX Runtime is."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from packed_bundle import write_packed_bundle

ROOT = Path(__file__).resolve().parents[1]


def onnxruntime_library() -> Path:
    """The libonnxruntime of the installed wheel."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec and spec.origin
    libraries = sorted(Path(spec.origin).parent.glob("capi/libonnxruntime.*"))
    assert libraries, "the onnxruntime wheel holds no libonnxruntime"
    return libraries[-1]


def write_affine(folder: Path) -> None:
    """y = 2 x + (10, 20, 30), the addend in an external file."""
    bias = numpy_helper.from_array(np.array([10, 20, 30], np.float32), "b")
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])],
        "affine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [bias, two],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(
        model, folder / "affine.onnx", save_as_external_data=True, location="affine.data", size_threshold=8
    )
    assert (folder / "affine.data").stat().st_size >= 12


def write_endless(folder: Path) -> None:
    """A loop that counts to n in float32."""
    one = numpy_helper.from_array(np.array([1], np.float32), "one")
    body = helper.make_graph(
        [
            helper.make_node("Add", ["count", "one"], ["count_out"]),
            helper.make_node("Identity", ["go"], ["go_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count_out", TensorProto.FLOAT, [1]),
        ],
        [one],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["n", "true", "zero"], ["result"], body=body)],
        "endless",
        [helper.make_tensor_value_info("n", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, [1])],
        [
            numpy_helper.from_array(np.array(True), "true"),
            numpy_helper.from_array(np.array([0], np.float32), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "endless.onnx")


def tool(name: str) -> str:
    """A build tool of this environment (the cmake and ninja wheels) or of the system."""
    local = shutil.which(name, path=sysconfig.get_path("scripts"))
    found = local or shutil.which(name)
    assert found, f"{name} was not found; `pip install {name}` brings it"
    return found


def run(command: list[str], **more: object) -> str:
    result = subprocess.run(command, capture_output=True, text=True, **more)  # type: ignore[call-overload]
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return str(result.stdout)


def build_core(folder: Path, *settings: str, targets: Sequence[str] = ("all",)) -> Path:
    """Builds the library, the example host and the C++ tests, or some of them, into a folder.

    settings: what CMake is told.
    """
    configure = [tool("cmake"), "-S", str(ROOT), "-B", str(folder), "-G", "Ninja"]
    configure += [
        f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
        "-DG4V_BUILD_TESTS=ON",
        "-DG4V_CUDA=OFF",
        *settings,
    ]
    if launcher := shutil.which("ccache"):
        configure += [f"-DCMAKE_{language}_COMPILER_LAUNCHER={launcher}" for language in ("C", "CXX")]
    if extra := os.environ.get("G4V_TEST_CMAKE_ARGS"):
        configure += extra.split()
    run(configure)
    run([tool("cmake"), "--build", str(folder), "--parallel", "2", "--target", *targets])
    return folder


def make_environment(models: Path, packed: bool = True) -> dict[str, str]:
    """The environment of the C++ tests: where ONNX Runtime, the test graphs and the bundles are, in a folder
    that this fills. packed: a bundle with packed weights too, which PyTorch writes.
    """
    models.mkdir(parents=True, exist_ok=True)
    write_affine(models)
    write_endless(models)
    run(
        [
            sys.executable,
            str(ROOT / "tests/python/synthetic_bundle.py"),
            str(models / "bundle"),
            "--video-to-video",
        ]
    )
    environment = {
        **os.environ,
        "G4V_ONNXRUNTIME": str(onnxruntime_library()),
        "G4V_TEST_MODELS": str(models),
        "G4V_TEST_BUNDLE": str(models / "bundle"),
    }
    if packed:
        environment["G4V_TEST_PACKED_BUNDLE"] = str(write_packed_bundle(models / "packed"))
    return environment
