"""g4v.ops.cross_attention against the formula in float64, on every instruction set of this processor."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import g4v
from g4v.ops import _kernels, cross_attention, set_threads, versions

VERSIONS = [
    pytest.param(
        name, marks=pytest.mark.skipif(name not in versions(), reason=f"no {name} here, or not with G4V_CPU")
    )
    for name in ("amx", "avx512", "avx2", "plain")
]


def reference(q: Any, k_own: Any, v_own: Any, k_mem: Any, v_mem: Any, mem_len: Any = None) -> np.ndarray:
    """float64; the scale is 1 / sqrt(D)."""
    q, k, v = (torch.as_tensor(x).double() for x in (q, k_mem, v_mem))
    own = 0
    if k_own is not None:
        own = k_own.shape[2]
        k = torch.cat([torch.as_tensor(k_own).double(), k], 2)
        v = torch.cat([torch.as_tensor(v_own).double(), v], 2)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if mem_len is not None:
        place = torch.arange(k.shape[2]) - own
        scores = scores.masked_fill(place >= torch.as_tensor(mem_len)[:, None, None, None], float("-inf"))
    return (torch.softmax(scores, -1).nan_to_num() @ v).numpy()


def run_python(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", code]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def error(actual: Any, expected: np.ndarray) -> float:
    difference = np.abs(np.asarray(actual, np.float64) - expected).max(initial=0)
    return float(difference / max(np.abs(expected).max(initial=0), 1e-30))


class Problem:
    """Random operands; keys and values of the memory are columns of one array, as in an abstractor."""

    def __init__(
        self,
        batch: int = 1,
        heads: int = 2,
        queries: int = 5,
        rows: int = 70,
        size: int = 64,
        own: bool = True,
        seed: int = 0,
        spread: float = 1.0,
    ) -> None:
        random = np.random.default_rng(seed)

        def normal(*shape: int) -> np.ndarray:
            return random.standard_normal(shape, np.float32)

        self.q = normal(batch, heads, queries, size) * np.float32(spread)
        self.k_own = normal(batch, heads, queries, size) if own else None
        self.v_own = normal(batch, heads, queries, size) if own else None
        memory = normal(batch, rows, 3, 2, heads, size)  # three layers'
        self.k_mem, self.v_mem = (memory[:, :, 1, part].transpose(0, 2, 1, 3) for part in (0, 1))

    @property
    def operands(self) -> tuple[Any, ...]:
        return self.q, self.k_own, self.v_own, self.k_mem, self.v_mem

    def run(self, version: str, mem_len: Any = None) -> np.ndarray:
        out = np.full(self.q.shape, np.nan, np.float32)
        scale = self.q.shape[-1] ** -0.5
        _kernels.run(*self.operands, mem_len, scale, out, version=version)
        return out


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [32, 64, 80, 96, 128])
def test_any_number_of_queries_and_rows(version: str, size: int) -> None:
    seed = 0
    for queries in (0, 1, 2, 15, 16, 63, 64, 66, 128, 131):
        for rows in (0, 1, 5, 64, 65, 200):
            seed += 1
            problem = Problem(2, 2, queries, rows, size, own=seed % 2 == 0, seed=seed)
            lengths = np.random.default_rng(seed).integers(0, rows + 1, 2).astype(np.int32)
            for mem_len in (None, lengths):
                result = problem.run(version, mem_len)
                assert error(result, reference(*problem.operands, mem_len)) < 1e-5, (queries, rows, mem_len)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_abstractors_sizes(version: str) -> None:
    """128 queries of 16 heads of 64, 8 and 32 frames of 257 tokens; the errors are far from the limit."""
    for rows in (8 * 257, 32 * 257):
        heads = 2 if version == "plain" else 16
        problem = Problem(1, heads, 128, rows, 64, seed=rows, spread=3.0)
        assert error(problem.run(version), reference(*problem.operands)) < 1e-5


@pytest.mark.parametrize("version", VERSIONS)
def test_adversarial_scores(version: str) -> None:
    problem = Problem(1, 2, 20, 300, 64)
    problem.q *= 40.0  # scores of several hundred: one hot, nearly
    assert error(problem.run(version), reference(*problem.operands)) < 1e-4  # float32 holds 300 to 3e-5
    problem.q[:] = 0  # equal scores: the mean of all values
    assert error(problem.run(version), reference(*problem.operands)) < 1e-5
    problem.k_mem[:] = 0
    problem.k_mem[:, :, 299] = problem.q[:, :, 0:1, :][:, :, 0] = 9.0  # one hot, in the last row
    assert error(problem.run(version), reference(*problem.operands)) < 1e-5
    problem = Problem(1, 1, 3, 5, 32, own=False)
    problem.v_mem[0, 0, 3] = np.nan  # behind the mask nothing is read
    result = problem.run(version, np.array([3], np.int32))
    assert (
        error(result, reference(*problem.operands[:3], problem.k_mem[:, :, :3], problem.v_mem[:, :, :3]))
        < 1e-5
    )
    assert not problem.run(version, np.array([0], np.int32)).any()  # no keys at all: zeros


def check_16_bit(
    problem: Problem, version: str, dtype: torch.dtype, mem_len: list[int] | None = None
) -> None:
    """No worse than twice the same attention step by step in `dtype`, as PyTorch computes it."""
    operands = [None if x is None else torch.from_numpy(x.copy()).to(dtype) for x in problem.operands]
    q, k_own, v_own, k_mem, v_mem = operands
    if k_mem.shape[2] > 1:  # columns of a product for three layers, last row first
        k_mem, v_mem = (torch.stack([x.flip(2)] * 3, 3)[:, :, :, 1] for x in (k_mem, v_mem))
        problem.k_mem, problem.v_mem = (x.float().numpy() for x in (k_mem, v_mem))
    out = torch.full((*q.shape[:3], 2 * q.shape[3]), torch.nan, dtype=dtype)[..., : q.shape[3]]
    lengths = None if mem_len is None else np.array(mem_len, np.int32)
    scale = q.shape[-1] ** -0.5
    _kernels.run(q, k_own, v_own, k_mem, v_mem, lengths, scale, out, version=version)
    wide = [None if x is None else x.float().numpy() for x in (q, k_own, v_own, k_mem, v_mem)]
    expected = reference(*wide, mem_len)
    keys = k_mem if k_own is None else torch.cat([k_own, k_mem], 2)
    values = v_mem if v_own is None else torch.cat([v_own, v_mem], 2)
    scores = q @ keys.transpose(-1, -2) * scale
    if mem_len is not None:
        place = torch.arange(keys.shape[2]) - (keys.shape[2] - k_mem.shape[2])
        hidden = place >= torch.tensor(mem_len)[:, None, None, None]
        scores = scores.masked_fill(hidden, float("-inf"))
    plain = torch.softmax(scores, -1).nan_to_num() @ values
    limit = 2 * error(plain.float().numpy(), expected) + 1e-6
    assert error(out.float().numpy(), expected) <= limit, (q.shape, keys.shape, mem_len)


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_is_no_worse_than_twice_plain_16_bit_attention(version: str, dtype: torch.dtype) -> None:
    for queries, rows in ((128, 700), (7, 33), (1, 0)):
        check_16_bit(Problem(1, 3, queries, rows, 64, seed=rows), version, dtype)
    random = np.random.default_rng(0)
    for seed in range(40):
        queries, rows = int(random.integers(1, 140)), int(random.integers(1, 400))
        size = (32, 64, 80, 96, 128)[seed % 5]
        problem = Problem(2, 2, queries, rows, size, own=seed % 2 == 0, seed=seed)
        lengths = random.integers(0, rows + 1, 2).tolist() if seed % 3 else None
        check_16_bit(problem, version, dtype, lengths)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_adversarial_scores_in_16_bit(version: str, dtype: torch.dtype) -> None:
    problem = Problem(1, 2, 40, 300, 64)
    problem.q *= 40.0  # scores of several hundred
    check_16_bit(problem, version, dtype)
    problem.q[:] = 0  # equal scores
    check_16_bit(problem, version, dtype)
    problem = Problem(1, 2, 40, 300, 80, own=False)
    problem.k_mem[:] = 0
    problem.k_mem[:, :, 0] = problem.q[:, :, 0] = 9.0  # one hot, in what becomes the last row
    check_16_bit(problem, version, dtype)
    for slope in (0.1, 1.0, -1.0):  # scores that rise, or fall, from each key to the next
        problem = Problem(1, 2, 40, 300, 32, own=False)
        problem.q[:] = 1.0
        problem.k_mem[:] = slope * np.arange(300, dtype=np.float32)[:, None]
        check_16_bit(problem, version, dtype)
    problem = Problem(1, 1, 3, 40, 96, own=False)
    q, k_mem, v_mem = (
        torch.from_numpy(x.copy()).to(dtype) for x in (problem.q, problem.k_mem, problem.v_mem)
    )
    k_mem[0, 0, 33:] = v_mem[0, 0, 33:] = torch.nan  # behind the mask nothing is read
    out = torch.empty_like(q)
    _kernels.run(q, None, None, k_mem, v_mem, np.array([33], np.int32), 0.1, out, version=version)
    assert torch.isfinite(out).all()
    _kernels.run(q, None, None, k_mem, v_mem, np.array([0], np.int32), 0.1, out, version=version)
    assert not out.any()  # no keys at all: zeros
    _kernels.run(q, None, None, k_mem, v_mem, np.array([34], np.int32), 0.1, out, version=version)
    assert torch.isnan(out).all()  # and what is read counts


def test_numpy_and_torch_agree_and_write_to_out() -> None:
    problem = Problem(2, 4, 10, 100, 32)
    result = cross_attention(*problem.operands)
    assert isinstance(result, np.ndarray) and result.dtype == np.float32
    assert error(result, reference(*problem.operands)) < 1e-5
    tensors = [torch.from_numpy(x) for x in problem.operands]
    assert np.array_equal(cross_attention(*tensors).numpy(), result)
    out = np.empty((2, 10, 4, 32), np.float32).transpose(0, 2, 1, 3)  # heads side by side, as callers keep it
    assert cross_attention(*problem.operands, out=out) is out
    assert np.array_equal(out, result)
    out_tensor = torch.empty(2, 4, 10, 32)
    assert cross_attention(*tensors, out=out_tensor) is out_tensor
    assert np.array_equal(out_tensor.numpy(), result)
    half = [x.astype(np.float16) for x in problem.operands]
    assert cross_attention(*half).dtype == np.float16


def test_scale_and_lengths_of_every_kind() -> None:
    problem = Problem(2, 1, 3, 9, 32)
    doubled = Problem(2, 1, 3, 9, 32)
    doubled.q = problem.q * 2
    by_scale = cross_attention(*problem.operands, scale=2 * 32**-0.5)
    assert error(by_scale, reference(*doubled.operands)) < 1e-5
    expected = reference(*problem.operands, [4, 9])
    for lengths in ([4, 9], np.array([4, 9]), np.array([4, 9], np.int32)):
        assert error(cross_attention(*problem.operands, mem_len=lengths), expected) < 1e-5
    tensors = [torch.from_numpy(x) for x in problem.operands]
    assert error(cross_attention(*tensors, mem_len=torch.tensor([4, 9])).numpy(), expected) < 1e-5


def test_views_with_negative_and_zero_strides() -> None:
    problem = Problem(2, 2, 6, 40, 32)
    problem.k_mem, problem.v_mem = problem.k_mem[:, :, ::-1], problem.v_mem[:, ::-1]
    problem.q = np.broadcast_to(problem.q[:, :, :1], problem.q.shape)  # read-only, row stride 0
    result = cross_attention(*problem.operands)
    assert error(result, reference(*(x.copy() for x in problem.operands))) < 1e-5


def test_the_same_call_gives_the_same_bits_whatever_the_threads_do() -> None:
    problem = Problem(1, 4, 128, 900, 64)
    try:
        set_threads(3)
        first = cross_attention(*problem.operands)
        for _ in range(5):
            assert np.array_equal(cross_attention(*problem.operands), first)
        results: list[Any] = [None] * 4
        callers = [
            threading.Thread(target=lambda i=i: results.__setitem__(i, cross_attention(*problem.operands)))
            for i in range(4)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert all(np.array_equal(result, first) for result in results)
        set_threads(1)
        assert error(cross_attention(*problem.operands), reference(*problem.operands)) < 1e-5
    finally:
        set_threads(os.cpu_count() or 1)


def test_gradients() -> None:
    shapes = [(2, 2, 5, 32)] * 3 + [(2, 2, 9, 32)] * 2
    torch.manual_seed(0)
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    weight = torch.randn(2, 2, 5, 32)
    for lengths in (None, torch.tensor([0, 7])):
        ours = torch.autograd.grad((cross_attention(*inputs, mem_len=lengths) * weight).sum(), inputs)
        wide = [x.detach().double().requires_grad_() for x in inputs]
        mask = None
        if lengths is not None:
            place = torch.arange(14) - 5
            mask = (place < lengths[:, None, None, None]).expand(2, 2, 5, 14)
        q, k_own, v_own, k_mem, v_mem = wide
        expected = F.scaled_dot_product_attention(
            q, torch.cat([k_own, k_mem], 2), torch.cat([v_own, v_mem], 2), attn_mask=mask
        )
        theirs = torch.autograd.grad((expected * weight).sum(), wide)
        for name, got, wanted in zip(("q", "k_own", "v_own", "k_mem", "v_mem"), ours, theirs, strict=True):
            assert error(got.numpy(), wanted.numpy()) < 1e-5, name
    # Numerically too: along a random direction.
    q = inputs[0].detach()
    direction = torch.randn_like(q)
    others = [x.detach() for x in inputs[1:]]

    def loss(step: float) -> float:
        return float((cross_attention(q + step * direction, *others).double() * weight).sum())

    (grad,) = torch.autograd.grad((cross_attention(inputs[0], *others) * weight).sum(), inputs[:1])
    assert abs((loss(1e-2) - loss(-1e-2)) / 2e-2 - float((grad * direction).sum())) < 2e-3
    # Without own keys, and no keys at all.
    bare = cross_attention(inputs[0], None, None, inputs[3], inputs[4], mem_len=[0, 9])
    bare.sum().backward()
    assert not inputs[3].grad[0].any() and inputs[3].grad[1].any()
    assert torch.isfinite(inputs[0].grad).all()


@pytest.mark.slow
def test_the_torch_operator_is_well_behaved() -> None:
    cross_attention(torch.zeros(1, 1, 1, 32), None, None, *[torch.zeros(1, 1, 1, 32)] * 2)  # registers it
    inputs = [torch.randn(2, 2, 4, 32, requires_grad=True) for _ in range(5)]
    lengths = torch.tensor([3, 4], dtype=torch.int32)
    torch.library.opcheck(torch.ops.g4v.cross_attention, (*inputs, lengths, 0.2))
    compiled = torch.compile(cross_attention, fullgraph=True, backend="aot_eager")
    tensors = [x.detach() for x in inputs]
    assert torch.equal(compiled(*tensors), cross_attention(*tensors))


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"q": np.zeros((2, 3, 32), np.float32)}, r"q must be \[B, H, Nq, D\], not \[2, 3, 32\]"),
    ({"q": [[1.0]]}, "q must be an array .* not list"),
    ({"q": np.zeros((1, 2, 5, 48), np.float32)}, "k_own must be|head_size must be 32, 64, 80, 96 or 128"),
    ({"q": np.zeros((1, 2, 5, 64), np.float64)}, "q must be float32, float16 or bfloat16, not float64"),
    ({"q": np.zeros((1, 2, 5, 64), ">f4")}, "q has the other byte order"),
    ({"k_own": None}, "k_own and v_own must both be given or both be None"),
    (
        {"v_own": np.zeros((1, 2, 4, 64), np.float32)},
        r"v_own must be \[1, 2, 5, 64\] to fit q, not \[1, 2, 4, 64\]",
    ),
    ({"v_mem": np.zeros((1, 2, 71, 64), np.float32)}, r"v_mem must be \[1, 2, 70, 64\] to fit q"),
    ({"k_mem": np.zeros((1, 2, 70, 64), np.float16)}, "k_mem must be float32 as q is, not float16"),
    (
        {"k_mem": np.zeros((1, 2, 64, 70), np.float32).swapaxes(2, 3)},
        "k_mem must have its last axis contiguous",
    ),
    ({"mem_len": [71]}, r"mem_len\[0\] is 71, outside 0 to 70"),
    ({"mem_len": [-1]}, r"mem_len\[0\] is -1"),
    ({"mem_len": [1, 2]}, r"mem_len must be \[1\], not \[2\]"),
    ({"mem_len": np.array([1.5])}, "mem_len must be contiguous int32, not float64"),
    ({"scale": float("nan")}, "scale must be finite"),
    ({"out": np.zeros((1, 2, 5, 32), np.float32)}, r"out must be \[1, 2, 5, 64\]"),
    ({"out": np.broadcast_to(np.float32(0), (1, 2, 5, 64))}, "out"),
]


@pytest.mark.parametrize(
    "change,message", REFUSALS, ids=lambda x: next(iter(x)) if isinstance(x, dict) else ""
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    names = ("q", "k_own", "v_own", "k_mem", "v_mem")
    arguments = {**dict(zip(names, Problem().operands, strict=True)), **change}
    with pytest.raises(g4v.ArgumentError, match=message):
        cross_attention(**arguments)


def test_misaligned_views_are_read_right_or_refused() -> None:
    problem = Problem(1, 1, 3, 8, 32)
    expected = reference(*problem.operands)
    for shift in (4, 8, 12, 20):  # multiples of an element, not of a vector
        raw = np.zeros(problem.q.nbytes + 64, np.uint8)
        view = raw[shift : shift + problem.q.nbytes].view(np.float32).reshape(problem.q.shape)
        view[:] = problem.q
        problem.q = view
        assert error(cross_attention(*problem.operands), expected) < 1e-5
    raw = np.zeros(problem.q.nbytes + 1, np.uint8)
    problem.q = np.frombuffer(raw.data, np.float32, problem.q.size, offset=1).reshape(problem.q.shape)
    with pytest.raises(g4v.ArgumentError, match="q does not start at a multiple of its element size"):
        cross_attention(*problem.operands)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    code = """
import os, numpy as np
from g4v.ops import cross_attention, set_threads
set_threads(3)
x = np.ones((1, 8, 64, 32), np.float32)
first = cross_attention(x, x, x, x, x)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(cross_attention(x, x, x, x, x), first) else 1)
print("child", os.waitpid(child, 0)[1])
"""
    assert "child 0" in run_python(code)


@pytest.mark.parametrize("version", VERSIONS)
def test_g4v_cpu_names_the_instruction_set(version: str) -> None:
    """The kernel of that name runs: its bits are those of a call that asks for it."""
    code = """
import numpy as np
from g4v.ops import _kernels, cross_attention, versions
random = np.random.default_rng(3)
x = [random.standard_normal((1, 2, 40, 32), np.float32) for _ in range(5)]
named = np.empty_like(x[0])
_kernels.run(*x, None, 32**-0.5, named, version=versions()[0])
print(versions()[0], np.array_equal(cross_attention(*x), named))
"""
    assert run_python(code, G4V_CPU=version).split() == [version, "True"]


def test_g4v_cpu_is_refused_by_name() -> None:
    code = """
import numpy as np
from g4v import ArgumentError
from g4v.ops import cross_attention, versions
x = np.ones((1, 1, 1, 32), np.float32)
for call in (versions, lambda: cross_attention(x, x, x, x, x)):
    try:
        print("ran:", call())
    except ArgumentError as error:
        print(error)
"""
    lines = run_python(code, G4V_CPU="sse9").splitlines()
    assert lines == ['G4V_CPU must be one of amx, avx512, avx2, plain, not "sse9"'] * 2
    for missing in {"amx", "avx512", "avx2"} - set(_kernels.core().kernel_versions(all=True)):
        expected = f"G4V_CPU is {missing}, which this processor does not have; it has "
        lines = run_python(code, G4V_CPU=missing).splitlines()
        assert len(lines) == 2 and all(line.startswith(expected) for line in lines)


def test_importing_the_operators_loads_nothing_heavy() -> None:
    code = """
import sys
import g4v.ops
print([name for name in ("torch", "onnxruntime", "av", "numpy") if name in sys.modules])
"""
    assert run_python(code).strip() == "[]"


@pytest.mark.gpu
def test_cuda_is_never_replaced_in_silence() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    x = torch.zeros(1, 1, 1, 32, device="cuda")
    assert cross_attention(x, x, x, x, x).is_cuda
