"""The CUDA kernels on a real GPU, against float64. Skipped, with the reason, where there is none.

The library is the one beside the installed package (or $G4V_TEST_CUDA_LIBRARY); everything else goes through
the CUDA driver, so that no framework is needed. tests/csrc/test_cuda_host.py runs the kernels without a GPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from .cuda_driver import CHOSEN, ELEMENTS, WGMMA, Driver, Params, Plan, Rows, from_bits, to_bits


def find_library() -> Path | None:
    if given := os.environ.get("G4V_TEST_CUDA_LIBRARY"):
        return Path(given)
    spec = importlib.util.find_spec("g4v")
    folders = list(spec.submodule_search_locations or []) if spec else []
    return next((Path(f) / "libg4v_cuda.so" for f in folders if (Path(f) / "libg4v_cuda.so").exists()), None)


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    path = find_library()
    if path is None:
        pytest.skip("this build of g4v has no CUDA kernels: there was no nvcc")
    loaded = ctypes.CDLL(str(path))
    loaded.g4v_cuda_error_text.restype = ctypes.c_char_p
    count = ctypes.c_int32()
    if code := loaded.g4v_cuda_device_count(ctypes.byref(count)):
        pytest.skip(f"no GPU to test on: {loaded.g4v_cuda_error_text(code).decode()}")
    description = (ctypes.c_char * 512)()
    if code := loaded.g4v_cuda_describe_device(0, description):
        pytest.skip(f"the GPU cannot be used: {loaded.g4v_cuda_error_text(code).decode()}")
    return loaded


@pytest.fixture(scope="module")
def driver(library: ctypes.CDLL) -> Driver:
    return Driver()


@dataclass
class Problem:
    """Inputs of the attention, as float64 of what the GPU gets; shapes [B, H, rows, D]."""

    dtype: str
    batch: int = 1
    heads: int = 2
    queries: int = 20
    own: int = 20
    memory: int = 150
    head_size: int = 64
    lengths: list[int] | None = None
    spread: float = 1.0
    interleaved: bool = False
    misaligned: int = 0  # elements
    seed: int = 0
    scale: float = 0.0
    tensors: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        rows = {"q": self.queries, "k_own": self.own, "v_own": self.own}
        rows |= {"k_mem": self.memory, "v_mem": self.memory}
        for name, count in rows.items():
            shape = (self.batch, self.heads, count, self.head_size)
            spread = 1.0 if name.startswith("v") else self.spread
            values = to_bits(random.normal(size=shape) * spread, self.dtype)
            self.tensors[name] = from_bits(values, self.dtype)
        self.scale = self.scale or float(np.float32(self.head_size**-0.5))

    def attend(self, narrow: bool) -> np.ndarray:
        """float64; with `narrow`, scores, weights and the result rounded to the inputs' type."""

        def rounded(values: np.ndarray) -> np.ndarray:
            return from_bits(to_bits(values, self.dtype), self.dtype) if narrow else values

        out = np.zeros((self.batch, self.heads, self.queries, self.head_size))
        for b in range(self.batch):
            length = self.memory if self.lengths is None else self.lengths[b]
            keys = np.concatenate([self.tensors["k_own"][b], self.tensors["k_mem"][b, :, :length]], 1)
            values = np.concatenate([self.tensors["v_own"][b], self.tensors["v_mem"][b, :, :length]], 1)
            if keys.shape[1] == 0:
                continue
            scores = rounded(rounded(self.tensors["q"][b] @ keys.transpose(0, 2, 1)) * self.scale)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[b] = rounded(rounded(weights / weights.sum(-1, keepdims=True)) @ values)
        return out

    def allowed(self) -> float:
        """float32: 1e-5 of the largest value. 16 bits: twice a plain attention's error, or the rounding."""
        exact = self.attend(False)
        largest = float(np.abs(exact).max(initial=0.0))
        if self.dtype == "float32":
            return 1e-5 * largest
        plain = float(np.abs(self.attend(True) - exact).max(initial=0.0))
        return max(2 * plain, largest * 2.0 ** (-11 if self.dtype == "float16" else -8))


class OnGpu:
    """A problem's tensors on the GPU, with NaNs wherever nothing belongs to it."""

    def __init__(self, driver: Driver, library: ctypes.CDLL, problem: Problem, kernel: int = CHOSEN) -> None:
        self.driver, self.library, self.problem, self.kernel = driver, library, problem, kernel
        self.pointers: list[int] = []
        self.params = Params(
            dtype=ELEMENTS[problem.dtype],
            batch=problem.batch,
            heads=problem.heads,
            queries=problem.queries,
            own_rows=problem.own,
            memory_rows=problem.memory,
            head_size=problem.head_size,
            scale=problem.scale,
        )
        for name, tensor in problem.tensors.items():
            setattr(self.params, name, self.place(tensor)[0])
        shape = (problem.batch, problem.heads, problem.queries, problem.head_size)
        self.params.out, self.out_pointer, self.out_host = self.place(np.full(shape, np.nan))
        if problem.lengths is not None:
            pointer = self.keep(driver.allocate(4 * len(problem.lengths)))
            driver.upload(pointer, np.array(problem.lengths, np.int32))
            self.params.mem_len = pointer
        self.plan = Plan()
        plan = (ctypes.byref(self.params), 0, kernel, ctypes.byref(self.plan))
        self.expect(library.g4v_cuda_cross_attention_plan_with(*plan))
        self.workspace = self.keep(driver.allocate(self.plan.workspace_bytes))

    def keep(self, pointer: int) -> int:
        self.pointers.append(pointer)
        return pointer

    def expect(self, code: int) -> None:
        assert code == 0, self.library.g4v_cuda_error_text(code).decode()

    def place(self, tensor: np.ndarray) -> tuple[Rows, int, np.ndarray]:
        """Uploads [B, H, rows, D]; interleaved: as every third head of [B, rows, 3 H, D]."""
        batch, heads, rows, size = tensor.shape
        bits = to_bits(tensor, self.problem.dtype)
        nan = to_bits(np.array([np.nan]), self.problem.dtype)[0]
        guard = 64
        if self.problem.interleaved:
            strides = (rows * 3 * heads * size, 3 * size, 3 * heads * size)
        else:
            strides = (heads * rows * size, rows * size, size)
        total = batch * strides[0] + 2 * guard + self.problem.misaligned
        host = np.full(total, nan, bits.dtype)
        first = guard + self.problem.misaligned
        view = np.lib.stride_tricks.as_strided(
            host[first:], tensor.shape, tuple(s * bits.itemsize for s in (*strides, 1))
        )
        if tensor.size:
            view[...] = bits
        pointer = self.keep(self.driver.allocate(host.nbytes))
        self.driver.upload(pointer, host)
        return Rows(pointer + first * bits.itemsize, *strides), pointer, host

    def start(self) -> None:
        self.expect(
            self.library.g4v_cuda_cross_attention_with(
                ctypes.byref(self.params),
                0,
                self.kernel,
                ctypes.c_void_p(self.workspace),
                ctypes.c_size_t(self.plan.workspace_bytes),
                self.driver.stream,
            )
        )

    def output(self) -> np.ndarray:
        """[B, H, Nq, D]; checks that nothing else was written."""
        self.driver.synchronize()
        host = self.driver.download(self.out_pointer, self.out_host)
        rows = self.params.out
        first = (rows.data - self.out_pointer) // host.itemsize
        shape = (self.problem.batch, self.problem.heads, self.problem.queries, self.problem.head_size)
        strides = tuple(s * host.itemsize for s in (rows.batch, rows.head, rows.row, 1))
        out = np.lib.stride_tricks.as_strided(host[first:], shape, strides).copy()
        guards, before = host.copy(), self.out_host.copy()
        for array in (guards, before):
            if out.size:
                np.lib.stride_tricks.as_strided(array[first:], shape, strides)[...] = 0
        np.testing.assert_array_equal(guards.view(np.uint8), before.view(np.uint8))
        return out

    def clear(self) -> None:
        self.driver.upload(self.out_pointer, self.out_host)

    def close(self) -> None:
        self.driver.synchronize()
        for pointer in self.pointers:
            self.driver.free(pointer)


@pytest.fixture
def place(driver: Driver, library: ctypes.CDLL) -> Iterator[object]:
    placed: list[OnGpu] = []

    def make(problem: Problem, kernel: int = CHOSEN) -> OnGpu:
        placed.append(OnGpu(driver, library, problem, kernel))
        return placed[-1]

    yield make
    for one in placed:
        one.close()


def check(gpu: OnGpu) -> None:
    gpu.start()
    out = from_bits(gpu.output(), gpu.problem.dtype)
    error = float(np.abs(out - gpu.problem.attend(False)).max(initial=0.0))
    assert error <= gpu.problem.allowed(), f"error {error:.3g}, allowed {gpu.problem.allowed():.3g}"


@pytest.mark.gpu
@pytest.mark.parametrize("head_size", [32, 64, 80, 96, 128])
@pytest.mark.parametrize("dtype", list(ELEMENTS))
def test_types_and_head_sizes(place, dtype: str, head_size: int) -> None:
    for interleaved, misaligned in [(False, 0), (True, 0), (True, 1)]:
        problem = Problem(
            dtype,
            batch=2,
            heads=3,
            queries=130,
            own=130,
            memory=700,
            head_size=head_size,
            interleaved=interleaved,
            misaligned=misaligned,
        )
        gpu = place(problem)
        if misaligned or dtype == "float32":
            assert gpu.plan.kernel == 0
        check(gpu)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize(
    "queries, own, memory", list(itertools.product([1, 17, 128], [0, 1, 64], [0, 1, 65, 2056]))
)
def test_tails(place, dtype: str, queries: int, own: int, memory: int) -> None:
    check(place(Problem(dtype, queries=queries, own=own, memory=memory)))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", list(ELEMENTS))
def test_lengths_and_no_keys(place, dtype: str) -> None:
    check(place(Problem(dtype, batch=4, own=0, memory=500, lengths=[500, 0, 1, 77])))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", list(ELEMENTS))
def test_large_logits(place, dtype: str) -> None:
    check(place(Problem(dtype, memory=900, spread=15.0)))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", list(ELEMENTS))
def test_the_abstractor_and_that_the_bits_repeat(place, dtype: str) -> None:
    gpu = place(Problem(dtype, heads=16, queries=128, own=128, memory=8 * 257, interleaved=True))
    check(gpu)
    first = gpu.output()
    for _ in range(5):
        gpu.clear()
        gpu.start()
        np.testing.assert_array_equal(gpu.output().view(np.uint8), first.view(np.uint8))


@pytest.fixture
def place_wgmma(place, library: ctypes.CDLL) -> object:
    """Places a problem for the wgmma kernel, which the library never chooses by itself."""
    plan = Plan()
    params = Params(ELEMENTS["bfloat16"], 1, 1, 0, 0, 0, 64)
    if code := library.g4v_cuda_cross_attention_plan_with(ctypes.byref(params), 0, WGMMA, ctypes.byref(plan)):
        assert code == 5
        pytest.skip(library.g4v_cuda_error_text(code).decode())

    def make(problem: Problem) -> OnGpu:
        gpu = place(problem, WGMMA)
        assert gpu.plan.kernel == WGMMA
        return gpu

    return make


@pytest.mark.gpu
@pytest.mark.parametrize("head_size", [64, 128])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_wgmma_types_and_lengths(place_wgmma, dtype: str, head_size: int) -> None:
    for interleaved in (False, True):
        problem = Problem(
            dtype, 2, 3, queries=130, own=130, memory=700, head_size=head_size, interleaved=interleaved
        )
        check(place_wgmma(problem))
    lengths = [500, 0, 1, 77]
    check(place_wgmma(Problem(dtype, batch=4, own=0, memory=500, head_size=head_size, lengths=lengths)))
    check(place_wgmma(Problem(dtype, memory=900, head_size=head_size, spread=15.0)))


@pytest.mark.gpu
@pytest.mark.parametrize(
    "queries, own, memory",
    list(itertools.product([1, 17, 65, 128], [0, 1, 64], [0, 1, 17, 33, 49, 65, 2056])),
)
def test_wgmma_tails(place_wgmma, queries: int, own: int, memory: int) -> None:
    check(place_wgmma(Problem("bfloat16", queries=queries, own=own, memory=memory)))


@pytest.mark.gpu
@pytest.mark.parametrize("frames", [8, 32])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_wgmma_the_abstractor_and_that_the_bits_repeat(place_wgmma, dtype: str, frames: int) -> None:
    gpu = place_wgmma(Problem(dtype, heads=16, queries=128, own=128, memory=frames * 257, interleaved=True))
    check(gpu)
    first = gpu.output()
    for _ in range(20):
        gpu.clear()
        gpu.start()
        np.testing.assert_array_equal(gpu.output().view(np.uint8), first.view(np.uint8))


@pytest.mark.gpu
def test_capture_in_a_graph(place, driver: Driver) -> None:
    """Planned before, a call allocates nothing and waits for nothing: strict capture lets it through."""
    gpu = place(Problem("bfloat16", heads=16, queries=128, own=128, memory=8 * 257))
    check(gpu)
    expected = gpu.output()
    driver.begin_capture()
    gpu.start()
    graph = driver.end_capture()
    for _ in range(3):
        gpu.clear()
        driver.launch(graph)
        np.testing.assert_array_equal(gpu.output(), expected)


@pytest.mark.gpu
def test_refusals(place, library: ctypes.CDLL) -> None:
    gpu = place(Problem("bfloat16", heads=16, queries=128, own=128, memory=8 * 257))
    assert gpu.plan.workspace_bytes > 0

    def code(workspace: int, size: int) -> int:
        return library.g4v_cuda_cross_attention(
            ctypes.byref(gpu.params),
            0,
            ctypes.c_void_p(workspace),
            ctypes.c_size_t(size),
            gpu.driver.stream,
        )

    for workspace, size in [
        (0, gpu.plan.workspace_bytes),
        (gpu.workspace, gpu.plan.workspace_bytes - 1),
        (gpu.workspace + 4, gpu.plan.workspace_bytes),
    ]:
        assert code(workspace, size) == 6
        assert b"multiple of 16" in library.g4v_cuda_error_text(6)
    gpu.params.head_size = 65
    assert code(gpu.workspace, gpu.plan.workspace_bytes) == 1
    assert b"head_size must be" in library.g4v_cuda_error_text(1)
    plan = Plan()
    assert library.g4v_cuda_cross_attention_plan(ctypes.byref(gpu.params), 99, ctypes.byref(plan)) == 1
    assert b"no CUDA device 99" in library.g4v_cuda_error_text(1)


def test_the_reference_of_these_tests() -> None:
    """Without a GPU: the plain formula on a case that is done by hand, and the types' rounding."""
    problem = Problem("float32", heads=1, queries=1, own=1, memory=1, head_size=32, scale=1.0)
    q, k0, k1 = (problem.tensors[name][0, 0, 0] for name in ("q", "k_own", "k_mem"))
    weight = 1 / (1 + np.exp(q @ k1 - q @ k0))
    expected = weight * problem.tensors["v_own"][0, 0, 0] + (1 - weight) * problem.tensors["v_mem"][0, 0, 0]
    np.testing.assert_allclose(problem.attend(False)[0, 0, 0], expected, rtol=1e-12)
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -2.5, np.nan])
    np.testing.assert_array_equal(
        from_bits(to_bits(values, "bfloat16"), "bfloat16"), [1.0, 1.0, 1 + 2**-6, -2.5, np.nan]
    )
