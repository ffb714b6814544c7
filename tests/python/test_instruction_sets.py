"""G4V_CPU chooses the instruction set of every operator of a graph: the attention, the norms, the product."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from g4v.ops import _kernels

AVAILABLE = _kernels.core().kernel_versions(all=True)
VERSIONS = [
    pytest.param(name, marks=pytest.mark.skipif(name not in AVAILABLE, reason=f"no {name} on this processor"))
    for name in ("amx", "avx512", "avx2", "plain")
]
WIDTH = 64

RUN = """
import sys
import numpy as np
import onnxruntime
from g4v.ops import custom_ops_library, versions

model, feeds, results = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
options.register_custom_ops_library(custom_ops_library())
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
with np.load(feeds) as given:
    values = session.run(None, dict(given))
np.savez(results, **{item.name: value for item, value in zip(session.get_outputs(), values)})
print(versions()[0])
"""


def write_model(path: Path, nodes: list[onnx.NodeProto], inputs: list[str], outputs: list[str]) -> None:
    shape = [None, None, None]
    weight = np.eye(WIDTH, dtype=np.float32)[::-1].copy()
    graph = helper.make_graph(
        nodes,
        "operators",
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, [None] if name in ("row", "rows") else shape
            )
            for name in inputs
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(weight, "weight")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("g4v", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def run(
    folder: Path, model: Path, feeds: dict[str, np.ndarray], version: str
) -> subprocess.CompletedProcess[str]:
    np.savez(folder / "feeds.npz", **feeds)
    command = [sys.executable, "-c", RUN, str(model), str(folder / "feeds.npz"), str(folder / "results.npz")]
    environment = {**os.environ, "G4V_CPU": version}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def layer_norm(h: np.ndarray, row: np.ndarray) -> np.ndarray:
    centred = h - h.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * row + row


def attention(queries: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Two heads of 32; keys and values of the memory are its first and last columns."""

    def heads(x: np.ndarray) -> np.ndarray:
        return x.reshape(x.shape[0], x.shape[1], 2, 32).transpose(0, 2, 1, 3)

    q, k_own, v_own = (heads(part) for part in np.split(queries, 3, -1))
    k_mem, v_mem = (heads(part) for part in np.split(memory, 2, -1))
    scores = q @ np.concatenate([k_own, k_mem], 2).transpose(0, 1, 3, 2) / np.sqrt(32)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    out = weights / weights.sum(-1, keepdims=True) @ np.concatenate([v_own, v_mem], 2)
    return out.transpose(0, 2, 1, 3).reshape(queries.shape[0], queries.shape[1], WIDTH)


@pytest.mark.parametrize("version", VERSIONS)
def test_operators_compute_their_formulas(version: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shapes = {
        "queries": (2, 17, 3 * WIDTH),
        "memory": (2, 131, 2 * WIDTH),
        "x": (2, 9, WIDTH),
        "skip": (2, 9, WIDTH),
        "wide": (2, 9, 2 * WIDTH),
        "row": (WIDTH,),
        "rows": (2 * WIDTH,),
    }
    feeds = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node(
            "CrossAttention",
            ["queries", "memory"],
            ["attention"],
            domain="g4v",
            num_heads=2,
            key_column=0,
            value_column=WIDTH,
        ),
        helper.make_node(
            "SkipNorm", ["x", "skip", "row", "row", "row"], ["norm", "sum"], domain="g4v", epsilon=1e-6
        ),
        helper.make_node("GatedNorm", ["wide", "row", "row", "rows"], ["gated"], domain="g4v", epsilon=1e-6),
    ]
    model = tmp_path / "operators.onnx"
    write_model(model, nodes, list(shapes), ["attention", "norm", "sum", "gated"])
    done = run(tmp_path, model, feeds, version)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == version

    f = {name: value.astype(np.float64) for name, value in feeds.items()}
    total = f["x"] + f["skip"] + f["row"]
    gate, up = np.split(f["wide"] + f["rows"], 2, -1)
    expected = {
        "attention": attention(f["queries"], f["memory"]),
        "sum": total,
        "norm": layer_norm(total, f["row"]),
        "gated": layer_norm(gate / (1 + np.exp(-gate)) * up, f["row"]),
    }
    with np.load(tmp_path / "results.npz") as results:
        for name, wanted in expected.items():
            assert np.abs(results[name] - wanted).max() < 1e-5 * np.abs(wanted).max(), name


@pytest.mark.parametrize("version", VERSIONS)
def test_the_product_is_an_operator_on_amx_alone(version: str, tmp_path: Path) -> None:
    """Elsewhere graphs bring a function of its name, which this graph does not."""
    model = tmp_path / "product.onnx"
    node = helper.make_node("MatMul", ["x", "weight"], ["out"], domain="g4v", pieces=3)
    write_model(model, [node], ["x"], ["out"])
    x = np.random.default_rng(0).standard_normal((1, 5, WIDTH), np.float32)
    done = run(tmp_path, model, {"x": x}, version)
    if version == "amx":
        assert done.returncode == 0, done.stderr
        with np.load(tmp_path / "results.npz") as results:
            assert np.array_equal(results["out"], x[..., ::-1])
    else:
        assert done.returncode != 0 and "g4v:MatMul" in done.stderr


TALK = """
import numpy as np
import g4v
frames = np.zeros((8, 64, 64, 3), np.uint8)
for k in range(8):
    frames[k, 20:40, 40 - 5 * k : 60 - 5 * k, 0] = 255
chat = g4v.load("tiny", threads=2).chat(temperature=0, max_new_tokens=24)
print(g4v._core.kernel_versions()[0], chat.ask("What moves here?", frames).text)
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_turn(version: str) -> None:
    """The embedded assistant sees a red square on each instruction set."""
    done = subprocess.run(
        [sys.executable, "-c", TALK],
        env={**os.environ, "G4V_CPU": version},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{version} ") and "red square" in done.stdout


def test_a_session_refuses_what_g4v_cpu_cannot_be(tmp_path: Path) -> None:
    model = tmp_path / "sum.onnx"
    write_model(model, [helper.make_node("Identity", ["x"], ["out"])], ["x"], ["out"])
    done = run(tmp_path, model, {"x": np.zeros((1, 1, WIDTH), np.float32)}, "sse9")
    assert done.returncode != 0
    assert 'G4V_CPU must be one of amx, avx512, avx2, plain, not "sse9"' in done.stderr
