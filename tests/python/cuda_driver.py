"""What the GPU tests need of CUDA, through the driver alone: memory, streams and graphs, no framework."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

CHOSEN, WGMMA = -1, 2  # kernels, by their numbers in csrc/kernels/cuda/library.h
ELEMENTS = {"float32": 0, "float16": 1, "bfloat16": 2}  # DType in csrc/kernels/cross_attention.h


class Rows(ctypes.Structure):
    """StridedRows: strides in elements."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("head", ctypes.c_int64),
        ("row", ctypes.c_int64),
    ]


class Params(ctypes.Structure):
    """CrossAttentionParams of csrc/kernels/cross_attention.h."""

    _fields_ = [
        ("dtype", ctypes.c_int32),
        ("batch", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("queries", ctypes.c_int64),
        ("own_rows", ctypes.c_int64),
        ("memory_rows", ctypes.c_int64),
        ("head_size", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("q", Rows),
        ("k_own", Rows),
        ("v_own", Rows),
        ("k_mem", Rows),
        ("v_mem", Rows),
        ("mem_len", ctypes.c_void_p),
        ("out", Rows),
    ]


class Plan(ctypes.Structure):
    """G4vCudaPlan of csrc/kernels/cuda/library.h."""

    _fields_ = [
        ("kernel", ctypes.c_int32),
        ("splits", ctypes.c_int32),
        ("blocks", ctypes.c_int64),
        ("workspace_bytes", ctypes.c_int64),
    ]


def to_bits(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float values as the bytes of `dtype`, rounded to nearest, ties to even."""
    single = np.ascontiguousarray(values, np.float32)
    if dtype == "float32":
        return single
    if dtype == "float16":
        return single.astype(np.float16)
    bits = single.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(single), np.uint32(0x7FFF), rounded).astype(np.uint16)


def from_bits(bits: np.ndarray, dtype: str) -> np.ndarray:
    """float64 values of what `to_bits` made."""
    if dtype != "bfloat16":
        return bits.astype(np.float64)
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)


class Driver:
    """The primary context of GPU 0, as the kernels' own CUDA runtime uses it."""

    def __init__(self) -> None:
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", ctypes.c_uint(0))
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.stream = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(self.stream), ctypes.c_uint(1))  # non-blocking

    def call(self, name: str, *arguments: Any) -> None:
        code = getattr(self.cuda, name)(*arguments)
        assert code == 0, f"{name} failed with CUDA driver error {code}"

    def allocate(self, size: int) -> int:
        pointer = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(size, 1)))
        return pointer.value

    def free(self, pointer: int) -> None:
        self.call("cuMemFree_v2", ctypes.c_uint64(pointer))

    def upload(self, pointer: int, array: np.ndarray) -> None:
        data = np.ascontiguousarray(array)
        if data.nbytes:
            self.call(
                "cuMemcpyHtoD_v2",
                ctypes.c_uint64(pointer),
                ctypes.c_void_p(data.ctypes.data),
                ctypes.c_size_t(data.nbytes),
            )

    def download(self, pointer: int, like: np.ndarray) -> np.ndarray:
        array = np.empty_like(like)
        if array.nbytes:
            self.call(
                "cuMemcpyDtoH_v2",
                ctypes.c_void_p(array.ctypes.data),
                ctypes.c_uint64(pointer),
                ctypes.c_size_t(array.nbytes),
            )
        return array

    def synchronize(self) -> None:
        self.call("cuStreamSynchronize", self.stream)

    def begin_capture(self) -> None:
        self.call("cuStreamBeginCapture_v2", self.stream, ctypes.c_int(0))  # global: strictest

    def end_capture(self) -> ctypes.c_void_p:
        """The captured work, ready for `launch`."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuStreamEndCapture", self.stream, ctypes.byref(graph))
        self.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        return executable

    def launch(self, executable: ctypes.c_void_p) -> None:
        self.call("cuGraphLaunch", executable, self.stream)
