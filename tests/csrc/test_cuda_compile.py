"""The CUDA kernels compile for every architecture, spill nothing, and say so where there is no GPU.

About 90 seconds of one core. Skipped where there is no nvcc, which `pip install .` does without as well.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

from native import ROOT, run
from native_builds import NVCC

NATIVE_BUILD = "cuda"
needs_nvcc = pytest.mark.skipif(NVCC is None, reason="no nvcc: CUDA kernels cannot be compiled here")


def nvcc_release() -> int:
    match = re.search(r"release (\d+)", run([str(NVCC), "--version"]))
    assert match
    return int(match.group(1))


@pytest.fixture(scope="module")
def build(native_build: Path) -> Path:
    """libg4v_cuda alone, for all architectures."""
    return native_build


def library_of(build: Path) -> Path:
    return next(build.glob("**/libg4v_cuda.so"))


@pytest.mark.slow
@needs_nvcc
def test_every_kernel_for_every_architecture_without_spills(build: Path) -> None:
    kernels = json.loads((build / "cuda_resources.json").read_text(encoding="utf-8"))
    architectures = {kernel["architecture"] for kernel in kernels}
    assert {"75", "80", "86", "89", "90"} <= architectures
    elements, sizes = ("float", "Half", "BFloat16"), (32, 64, 80, 96, 128)
    expected = {f"PlainKernel<{e}, {d}>" for e in elements for d in sizes}
    expected |= {f"TensorCoreKernel<{e}, {d}>" for e in elements[1:] for d in sizes}
    expected |= {f"MergeKernel<{e}>" for e in elements}
    # wgmma is 9.0's alone, and needs code for "9.0a"; no other architecture holds anything of it.
    warpgroup = {f"WarpgroupKernel<{e}, {d}>" for e in elements[1:] for d in (64, 128)}
    assert ("90a" in architectures) == (nvcc_release() >= 12)
    for architecture in architectures:
        found = {k["kernel"] for k in kernels if k["architecture"] == architecture}
        assert found == (warpgroup if architecture == "90a" else expected)
    for kernel in kernels:
        assert kernel["spill_bytes"] == 0 and kernel["stack_bytes"] == 0, kernel
        # What the launch bounds promise: a block of 256 threads fits a multiprocessor, two do of wgmma's
        # kernel for heads of 64, four of 128 threads do.
        one = "TensorCore" in kernel["kernel"] or (
            "Warpgroup" in kernel["kernel"] and "128" in kernel["kernel"]
        )
        most = 255 if one else 128
        assert 0 < kernel["registers"] <= most, kernel
        assert "wgmma_serialized" not in kernel, kernel


@pytest.mark.slow
@needs_nvcc
def test_library_needs_no_cuda_libraries_and_exports_its_functions_alone(build: Path) -> None:
    if not shutil.which("nm") or not shutil.which("readelf"):
        pytest.skip("no nm or readelf")
    library = str(library_of(build))
    symbols = run(["nm", "-D", "--defined-only", library]).split()[2::3]
    assert "g4v_cuda_cross_attention" in symbols and all(s.startswith("g4v_cuda_") for s in symbols)
    needed = run(["readelf", "-d", library])
    assert "NEEDED" in needed and "libcuda" not in needed and "cudart" not in needed


@pytest.mark.slow
@needs_nvcc
def test_without_a_gpu_every_call_says_why(build: Path) -> None:
    """The real library on a machine without a GPU; with one, the GPU tests take over."""
    library = ctypes.CDLL(str(library_of(build)))
    library.g4v_cuda_error_text.restype = ctypes.c_char_p
    library.g4v_cuda_architectures.restype = ctypes.c_char_p
    assert library.g4v_cuda_abi_version() >= 1
    assert b"75-real" in library.g4v_cuda_architectures()
    assert library.g4v_cuda_runtime_version() >= 11080
    count = ctypes.c_int32(-1)
    code = library.g4v_cuda_device_count(ctypes.byref(count))
    if code == 0:
        pytest.skip("there is a GPU")
    assert count.value == 0
    text = library.g4v_cuda_error_text(code).decode()
    assert (code, text) in {
        (2, "no NVIDIA driver is installed (libcuda.so.1 was not found)"),
        (4, "no NVIDIA GPU is visible to this process"),
    } or (code == 3 and "driver is too old" in text)
    params, out = (ctypes.c_char * 512)(), (ctypes.c_char * 512)()
    assert library.g4v_cuda_describe_device(0, out) == code
    assert library.g4v_cuda_cross_attention_plan(params, 0, out) == code
    assert library.g4v_cuda_cross_attention(params, 0, None, ctypes.c_size_t(0), None) == code
    assert library.g4v_cuda_cross_attention(None, 0, None, ctypes.c_size_t(0), None) == 1
    assert library.g4v_cuda_error_text(1).decode() == "params must not be null"


def test_a_spilling_kernel_is_found(tmp_path: Path) -> None:
    """The record of ptxas's report, on reports made up for it."""
    spec = importlib.util.spec_from_file_location("resources", ROOT / "csrc/kernels/cuda/resources.py")
    assert spec and spec.loader
    resources = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(resources)
    report = (
        "ptxas info    : Compiling entry function '_ZN3g4v7kernels4cuda16TensorCoreKernelINS1_4HalfELi64EEE"
        "vNS1_6LaunchE' for 'sm_80'\n"
        "ptxas info    : Function properties for x\n"
        "    {0} bytes stack frame, {0} bytes spill stores, {1} bytes spill loads\n"
        "ptxas info    : Used 171 registers, used 1 barriers, 16 bytes smem\n"
    )
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "one.log").write_text(report.format(0, 0), encoding="utf-8")
    out = tmp_path / "out.json"
    assert resources.collect(logs, out) == 0
    assert json.loads(out.read_text()) == [
        {
            "kernel": "TensorCoreKernel<Half, 64>",
            "architecture": "80",
            "stack_bytes": 0,
            "spill_bytes": 0,
            "registers": 171,
            "shared_bytes": 16,
        }
    ]
    (logs / "two.log").write_text(report.format(8, 12), encoding="utf-8")
    assert resources.collect(logs, out) == 1
    assert sorted(kernel["spill_bytes"] for kernel in json.loads(out.read_text())) == [0, 20]
    (logs / "two.log").unlink()
    (logs / "one.log").unlink()
    assert resources.collect(logs, out) == 1  # no report at all is no good news


def test_serialized_wgmma_is_found(tmp_path: Path) -> None:
    """Two remarks as ptxas 13.0 makes them; the second names a kernel that another file has."""
    spec = importlib.util.spec_from_file_location("resources", ROOT / "csrc/kernels/cuda/resources.py")
    assert spec and spec.loader
    resources = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(resources)
    name = "_ZN3g4v7kernels4cuda15WarpgroupKernelINS1_4HalfELi{}EEEvNS1_6LaunchE"
    report = (
        "ptxas info    : {}\n"
        f"ptxas info    : Compiling entry function '{name.format(64)}' for 'sm_90a'\n"
        "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
        "ptxas info    : Used 128 registers, used 1 barriers\n"
    )
    remarks = [
        "(C7512) Potential Performance Loss: wgmma.mma_async instructions are serialized due to "
        f"insufficient register resources for the function '{name.format(64)}'",
        "(C7517) warpgroup.wait is injected in around line 168 by compiler to allow use of registers "
        f"defined by GMMA in function '{name.format(128)}'",
        "0 bytes gmem",
    ]
    logs, out = tmp_path / "logs", tmp_path / "out.json"
    logs.mkdir()
    found = []
    for remark in remarks:
        (logs / "one.log").write_text(report.format(remark), encoding="utf-8")
        found.append(resources.collect(logs, out))
        (kernel,) = json.loads(out.read_text())
        assert ("wgmma_serialized" in kernel) == found[-1], kernel
        assert kernel["kernel"] == "WarpgroupKernel<Half, 64>" and kernel["architecture"] == "90a"
    assert found == [1, 0, 0]


def test_readable_names_of_all_kernels() -> None:
    spec = importlib.util.spec_from_file_location("resources", ROOT / "csrc/kernels/cuda/resources.py")
    assert spec and spec.loader
    resources = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(resources)
    prefix = "_ZN3g4v7kernels4cuda"
    assert resources.readable(prefix + "11PlainKernelIfLi80EEEvNS1_6LaunchE") == "PlainKernel<float, 80>"
    assert (
        resources.readable(prefix + "11MergeKernelINS1_8BFloat16EEEvNS1_6LaunchE") == "MergeKernel<BFloat16>"
    )
    assert resources.readable("_Z5otherv") == "_Z5otherv"
