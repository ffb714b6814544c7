"""The operator g4v.CrossAttention inside ONNX Runtime sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from g4v.export.components.abstractor import export_abstractor
from g4v.export.graph import cpu
from g4v.export.graph.cpu import CPU, CpuLowering, SplitGemm
from g4v.export.graph.standard import StandardLowering
from g4v.export.verify.comparison import verify_abstractor
from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig
from g4v.ops import custom_ops_library, versions


def session(path: Path, threads: int = 2) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(custom_ops_library())
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def write(folder: Path, heads: int = 2, width: int = 64, layer: int = 1) -> Path:
    with CPU.open(folder, "attention") as ops:
        g = ops.g
        queries = g.input("queries", "float32", ["b", "q", "c"])
        memory = g.input("memory", "float32", ["b2", "n", "m"])
        g.output(
            "out", ops.memory_attention(queries, memory, heads, width, layer), "float32", ["b", "q", "w"]
        )
        g.save()
    return folder / "attention.onnx"


def test_it_reads_its_layer_of_the_memory(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    queries = random.standard_normal((3, 10, 192), np.float32)
    memory = random.standard_normal((3, 500, 3 * 128), np.float32)
    (out,) = session(write(tmp_path)).run(None, {"queries": queries, "memory": memory})

    def heads(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(x).double().unflatten(-1, (2, 32)).transpose(1, 2)

    q, k_own, v_own = (heads(part) for part in np.split(queries, 3, -1))
    k_mem, v_mem = heads(memory[..., 128:192]), heads(memory[..., 192:256])
    expected = torch.nn.functional.scaled_dot_product_attention(
        q, torch.cat([k_own, k_mem], 2), torch.cat([v_own, v_mem], 2)
    )
    expected = expected.transpose(1, 2).flatten(2).numpy()
    assert np.abs(out - expected).max() < 1e-5 * np.abs(expected).max()


def test_runs_at_once_and_with_any_number_of_threads_give_the_same(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    random = np.random.default_rng(0)
    feeds = {
        "queries": random.standard_normal((1, 128, 192), np.float32),
        "memory": random.standard_normal((1, 2056, 3 * 128), np.float32),
    }
    path = write(tmp_path)
    many = session(path, 3)
    (first,) = many.run(None, feeds)
    with ThreadPoolExecutor(4) as callers:
        for (out,) in callers.map(lambda _: many.run(None, feeds), range(12)):
            assert np.array_equal(out, first)
    assert np.array_equal(session(path, 1).run(None, feeds)[0], first)


@pytest.mark.parametrize(
    "queries,memory,message",
    [
        ((1, 4, 190), (1, 9, 384), "the columns of queries, 190, must be 3 times a multiple of num_heads, 2"),
        ((2, 4, 192), (1, 9, 384), "memory is of 1 clips, queries of 2"),
        ((1, 4, 192), (1, 9, 255), "columns 192 to 256 are outside memory's 255"),
        ((1, 4, 6 * 48), (1, 9, 600), "head_size must be 32, 64, 80, 96 or 128"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, queries: tuple, memory: tuple, message: str) -> None:
    feeds = {"queries": np.zeros(queries, np.float32), "memory": np.zeros(memory, np.float32)}
    with pytest.raises(Exception, match=message):
        session(write(tmp_path)).run(None, feeds)


@pytest.mark.slow
def test_the_abstractor_at_real_sizes_equals_pytorch_and_standard_operators(tmp_path: Path) -> None:
    """Two of its layers, whose width, heads and memory are those of mPLUG-Owl; 1, 2 and 8 frames."""
    torch.manual_seed(0)
    abstractor = VideoAbstractor(AbstractorConfig(num_layers=2, output_size=256)).eval()
    for lowering, stem in ((CPU, "own"), (StandardLowering(), "standard")):
        export_abstractor(abstractor.float(), tmp_path, stem, lowering)
        assert verify_abstractor(abstractor, tmp_path, 8, 257, stem) < 1e-5
    own, standard = ((tmp_path / f"{stem}.onnx").read_bytes() for stem in ("own", "standard"))
    assert b"CrossAttention" in own and b"CrossAttention" not in standard


def write_product(folder: Path, weight: np.ndarray, pieces: int = 3) -> Path:
    lowering = CpuLowering(split_gemm=SplitGemm(pieces))
    with pytest.MonkeyPatch.context() as patch, lowering.open(folder, "product") as ops:
        patch.setattr(cpu, "SMALLEST_SPLIT", 0)
        x, bias = ops.g.input("x", "float32", ["b", "q", "w"]), np.ones(weight.shape[1], np.float32)
        product = ops.matmul(x, weight, bias, many_rows=True)
        ops.g.output("out", product, "float32", ["b", "q", "n"])
        ops.g.save()
    return folder / "product.onnx"


@pytest.mark.parametrize("pieces,most", [(3, 2e-6), (2, 2e-5)])
def test_products_equal_float64_with_and_without_the_operator(
    tmp_path: Path, pieces: int, most: float
) -> None:
    random = np.random.default_rng(4)
    weight, x = random.standard_normal((300, 70)), random.standard_normal((2, 37, 300))
    path = write_product(tmp_path, weight.astype(np.float32), pieces)
    expected = x.astype(np.float32).astype(np.float64) @ weight.astype(np.float32) + 1.0
    plain = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for each in (session(path), plain):
        (out,) = each.run(None, {"x": x.astype(np.float32)})
        assert np.linalg.norm(out - expected) < most * np.linalg.norm(expected)
    assert session(path).run(None, {"x": np.zeros((2, 0, 300), np.float32)})[0].shape == (2, 0, 70)


@pytest.mark.skipif("amx" not in versions(), reason="without tiles the product is ONNX Runtime's")
def test_products_refuse_what_does_not_fit(tmp_path: Path) -> None:
    weight = np.zeros((300, 70), np.float32)
    with pytest.raises(Exception, match="g4v.MatMul: x must have rows of 300 values, not of 299"):
        session(write_product(tmp_path, weight)).run(None, {"x": np.zeros((1, 2, 299), np.float32)})
    with pytest.raises(Exception, match="g4v.MatMul: pieces must be 2 or 3, not 4"):
        session(write_product(tmp_path, weight, 4))
    with CPU.open(tmp_path, "variable") as ops:
        g = ops.g
        x = g.input("x", "float32", ["b", "q", "w"])
        y = g.input("y", "float32", ["w", "n"])
        g.output("out", g.op("MatMul", x, y, domain="g4v", pieces=3), "float32", ["b", "q", "n"])
        g.save()
    with pytest.raises(Exception, match="g4v.MatMul: the weight must be a constant of the graph"):
        session(tmp_path / "variable.onnx")


@pytest.mark.slow
def test_calls_give_their_scratch_memory_back(tmp_path: Path) -> None:
    """Each of them would leave some 100 MB behind in 200 calls."""
    random = np.random.default_rng(5)
    memory = random.standard_normal((1, 300, 1024), np.float32)
    queries = random.standard_normal((1, 128, 3 * 512), np.float32)
    product = session(write_product(tmp_path, np.ones((512, 64), np.float32)))
    attention = session(write(tmp_path, 8, 512, 0))

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    def call() -> None:
        product.run(None, {"x": np.ones((1, 1000, 512), np.float32)})
        attention.run(None, {"queries": queries, "memory": memory})

    for _ in range(20):
        call()
    before = resident()
    for _ in range(200):
        call()
    assert resident() - before < 60


def write_norms(folder: Path, width: int = 40) -> tuple[Path, torch.nn.Module]:
    """A gated norm and a residual norm in one graph: x [B, Q, width] -> norm, sum."""
    torch.manual_seed(1)
    parts = torch.nn.ModuleDict(
        {
            "gate": torch.nn.Linear(width, 3 * width),
            "through": torch.nn.Linear(width, 3 * width),
            "inner": torch.nn.LayerNorm(3 * width, eps=1e-3),
            "outer": torch.nn.LayerNorm(3 * width, eps=1e-6),
        }
    )
    for part in (parts["inner"], parts["outer"]):
        torch.nn.init.normal_(part.weight)
        torch.nn.init.normal_(part.bias)
    with CPU.open(folder, "norms") as ops, torch.no_grad():
        g = ops.g
        x = g.input("x", "float32", ["b", "q", "w"])
        skip = g.input("skip", "float32", ["b2", "q2", "w2"])
        h = ops.gated_norm(x, parts["gate"], parts["through"], parts["inner"])
        normed, total = ops.residual_norm(h, skip, parts["outer"], parts["gate"].bias)
        for name, value in (("norm", normed), ("sum", total)):
            g.output(name, value, "float32", ["b", "q", "h"])
        g.save()
    return folder / "norms.onnx", parts.double()


@torch.no_grad()
def test_norms_equal_pytorch(tmp_path: Path) -> None:
    path, parts = write_norms(tmp_path)
    x, skip = torch.randn(2, 19, 40), torch.randn(2, 19, 120)
    norm, total = session(path).run(None, {"x": x.numpy(), "skip": skip.numpy()})
    h = torch.nn.functional.silu(parts["gate"](x.double())) * parts["through"](x.double())
    expected = parts["inner"](h) + skip.double() + parts["gate"].bias
    assert np.abs(total - expected.numpy()).max() < 1e-5
    assert np.abs(norm - parts["outer"](expected).numpy()).max() < 2e-5


def test_norms_refuse_what_does_not_fit(tmp_path: Path) -> None:
    path, _ = write_norms(tmp_path)
    norms = session(path)
    feeds = {"x": np.zeros((1, 2, 40), np.float32), "skip": np.zeros((1, 3, 120), np.float32)}
    with pytest.raises(Exception, match="g4v.SkipNorm: x and skip differ in shape"):
        norms.run(None, feeds)
    feeds = {"x": np.zeros((1, 1, 15), np.float32)}
    with pytest.raises(Exception, match="x has 15 columns, which are no pairs"):
        gated(tmp_path, 3).run(None, feeds)
    with pytest.raises(Exception, match="bias must have 16 values, not 8"):
        gated(tmp_path, 3).run(None, {"x": np.zeros((1, 1, 16), np.float32)})
    with pytest.raises(Exception, match="x must have 3 dimensions, not 2"):
        gated(tmp_path, 2).run(None, {"x": np.zeros((1, 16), np.float32)})


def gated(folder: Path, rank: int) -> onnxruntime.InferenceSession:
    """A gated norm whose every constant has eight values."""
    with CPU.open(folder, "gated") as ops:
        g = ops.g
        x = g.input("x", "float32", ["b", "q", "w"][-rank:])
        row = g.weight(np.ones(8, np.float32))
        norm = g.op("GatedNorm", x, row, row, row, domain="g4v", epsilon=1e-5)
        g.output("out", norm, "float32", [1, 1, 8])
        g.save()
    return session(folder / "gated.onnx")
