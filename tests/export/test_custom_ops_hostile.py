"""Graphs whose g4v operators have attributes and shapes near the limits of their types: each is refused in
one clear line, and no memory outside a tensor is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from g4v.ops import custom_ops_library, versions

MOST = 2**63 - 1  # of int64
LARGE = 2**31 - 1  # the largest attribute that is taken


def model(op: str, inputs: Sequence[str], outputs: Sequence[str], constants=(), **attributes) -> ModelProto:
    """One node of g4v's; `inputs` that are no constants are the graph's, of any shape."""
    names = {constant.name for constant in constants}
    node = helper.make_node(op, inputs, outputs, domain="g4v", **attributes)
    graph = helper.make_graph(
        [node],
        "hostile",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in inputs
            if name and name not in names
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs if name],
        list(constants),
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("g4v", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(graph: ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(custom_ops_library())
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(feeds))


def attention(**changed: int) -> ModelProto:
    attributes = {"num_heads": 2, "key_column": 0, "value_column": 64, **changed}
    return model("CrossAttention", ["queries", "memory"], ["out"], **attributes)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


ATTENTION = {"queries": zeros(1, 4, 192), "memory": zeros(1, 9, 128)}


def test_attention_takes_what_fits() -> None:
    assert not run(attention(), ATTENTION)[0].any()


@pytest.mark.parametrize("name", ["key_column", "value_column"])
@pytest.mark.parametrize("value", [-1, -64, -(2**63), LARGE + 1, MOST - 64, MOST - 63, MOST])
def test_columns_beyond_all_limits_are_refused(name: str, value: int) -> None:
    """The first column plus the width may not wrap round to a column before the tensor."""
    with pytest.raises(Exception, match=f"g4v.CrossAttention: {name} must be from 0 to {LARGE}, not {value}"):
        run(attention(**{name: value}), ATTENTION)


@pytest.mark.parametrize("value", [65, 128, LARGE - 64, LARGE])
def test_columns_outside_the_memory_are_refused(value: int) -> None:
    with pytest.raises(Exception, match=f"columns {value} to {value + 64} are outside memory's 128"):
        run(attention(value_column=value), ATTENTION)


@pytest.mark.parametrize("value", [0, -1, -(2**63), 2**32, MOST // 32, MOST])
def test_heads_beyond_all_limits_are_refused(value: int) -> None:
    with pytest.raises(
        Exception, match=f"g4v.CrossAttention: num_heads must be from 1 to {LARGE}, not {value}"
    ):
        run(attention(num_heads=value), ATTENTION)


@pytest.mark.parametrize(
    "heads,queries,memory,message",
    [
        (LARGE, (1, 4, 192), (1, 9, 128), f"must be 3 times a multiple of num_heads, {LARGE}"),
        (LARGE, (1, 4, 0), (1, 9, 128), "head_size must be 32, 64, 80, 96 or 128"),
        (2, (1, 4, 192), (1, 0, 63), "columns 0 to 64 are outside memory's 63"),
        (2, (0, 2**40, 2**40), (0, 9, 128), "queries is too large"),
        (2, (0, 4, 192), (0, 2**40, 2**40), "memory is too large"),
    ],
)
def test_attention_of_sizes_that_do_not_fit_is_refused(
    heads: int, queries: tuple, memory: tuple, message: str
) -> None:
    """ONNX Runtime makes tensors without elements whose other sizes do not fit in 64 bits; numpy does not."""
    graph = attention(num_heads=heads)
    graph.graph.ClearField("input")
    for name, shape in (("queries", queries), ("memory", memory)):
        graph.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{name}_shape"))
        graph.graph.node.insert(0, helper.make_node("ConstantOfShape", [f"{name}_shape"], [name]))
    with pytest.raises(Exception, match=message):
        run(graph, {})


def norm(op: str, outputs: Sequence[str], epsilon: float, width: int = 8) -> ModelProto:
    rows = {"scale": width, "shift": width, "bias": width * (2 if op == "GatedNorm" else 1)}
    constants = [numpy_helper.from_array(np.ones(size, np.float32), name) for name, size in rows.items()]
    inputs = ["x", *(["skip"] if op == "SkipNorm" else []), *rows]
    return model(op, inputs, outputs, constants, epsilon=epsilon)


NORMS = {
    "SkipNorm": (["norm", "sum"], {"x": zeros(1, 2, 8), "skip": zeros(1, 2, 8)}),
    "GatedNorm": (["norm"], {"x": zeros(1, 2, 16)}),
}


@pytest.mark.parametrize("op", NORMS)
@pytest.mark.parametrize("epsilon", [0.0, -1e-5, float("inf"), float("-inf"), float("nan")])
def test_norms_without_a_usable_epsilon_are_refused(op: str, epsilon: float) -> None:
    outputs, feeds = NORMS[op]
    run(norm(op, outputs, 1e-5), feeds)
    with pytest.raises(Exception, match=f"g4v.{op}: epsilon must be above 0 and finite"):
        run(norm(op, outputs, epsilon), feeds)


@pytest.mark.parametrize("op", NORMS)
def test_norms_of_nothing_give_nothing(op: str) -> None:
    outputs, _ = NORMS[op]
    shape = (2**20, 2**20, 0)
    feeds = {name: np.zeros(shape, np.float32) for name in (["x", "skip"] if op == "SkipNorm" else ["x"])}
    for out in run(norm(op, outputs, 1e-5, width=0), feeds):
        assert out.shape == shape


needs_tiles = pytest.mark.skipif(
    "amx" not in versions(), reason="without tiles the product is ONNX Runtime's"
)


@needs_tiles
@pytest.mark.parametrize("pieces", [0, 1, 4, -1, -(2**63), 2**32 + 2, MOST])
def test_products_of_other_pieces_are_refused(pieces: int) -> None:
    weight = numpy_helper.from_array(zeros(16, 16), "weight")
    with pytest.raises(Exception, match=f"g4v.MatMul: pieces must be 2 or 3, not {pieces}"):
        run(model("MatMul", ["x", "weight"], ["out"], [weight], pieces=pieces), {"x": zeros(1, 16)})


@needs_tiles
@pytest.mark.parametrize("shape", [(0, 16), (16, 0), (0, 2**40)])
def test_products_with_an_empty_weight_are_refused(shape: tuple[int, int]) -> None:
    weight = helper.make_tensor("weight", TensorProto.FLOAT, shape, [])
    with pytest.raises(Exception, match="g4v.MatMul: the weight is empty"):
        run(model("MatMul", ["x", "weight"], ["out"], [weight], pieces=3), {"x": zeros(1, shape[0])})


def convolution(
    op: str, weight: tuple[int, ...], bias: int = 4, constant: bool = True, **attributes
) -> ModelProto:
    """A convolution of x with 2 channels; of constant=False the weight is an input."""
    rows = {} if op == "WinogradConv" else {"scale": 2, "shift": 2}
    constants = [numpy_helper.from_array(np.ones(size, np.float32), name) for name, size in rows.items()]
    constants += [numpy_helper.from_array(np.ones(weight, np.float32), "weight")] if constant else []
    constants += [numpy_helper.from_array(np.ones(bias, np.float32), "bias")]
    return model(op, ["x", *rows, "weight", "bias"], ["out"], constants, **attributes)


needs_vectors = pytest.mark.skipif(
    versions()[0] in ("plain", "neon"), reason="the operator is for processors with AVX2"
)


@needs_vectors
@pytest.mark.parametrize("op", ["WinogradConv", "NormSiluWinogradConv"])
@pytest.mark.parametrize(
    "weight,bias,message",
    [
        ((4, 2, 3, 2), 4, "must have 3x3 or 3x1 values"),
        ((4, 2, 5, 5), 4, "must have 3x3 or 3x1 values"),
        ((0, 2, 3, 3), 0, "must have 3x3 or 3x1 values"),
        ((4, 0, 3, 3), 4, "must have 3x3 or 3x1 values"),
        ((4, 2, 9), 4, "weight must have 4 dimensions, not 3"),
        ((4, 2, 3, 3), 5, "bias must have 4 values, not 5"),
        ((4, 6, 3, 3), 4, "(x must have 6 channels, not 2|scale must have 6 values, not 2)"),
    ],
)
def test_convolutions_of_other_sizes_are_refused(op: str, weight: tuple, bias: int, message: str) -> None:
    norm = {} if op == "WinogradConv" else {"num_groups": 1, "epsilon": 1e-5}
    with pytest.raises(Exception, match=f"g4v.{op}: .*{message}"):
        run(convolution(op, weight, bias, **norm), {"x": zeros(1, 2, 5, 5)})


@needs_vectors
@pytest.mark.parametrize(
    "attributes,message",
    [
        ({"num_groups": 3, "epsilon": 1e-5}, "num_groups is 3, no divisor of 2 channels"),
        ({"num_groups": 0, "epsilon": 1e-5}, f"num_groups must be from 1 to {LARGE}, not 0"),
        ({"num_groups": MOST, "epsilon": 1e-5}, f"num_groups must be from 1 to {LARGE}, not {MOST}"),
        ({"num_groups": 2, "epsilon": 0.0}, "epsilon must be above 0 and finite"),
        ({"num_groups": 2, "epsilon": float("nan")}, "epsilon must be above 0 and finite"),
    ],
)
def test_norms_of_convolutions_with_other_attributes_are_refused(attributes: dict, message: str) -> None:
    with pytest.raises(Exception, match=f"g4v.NormSiluWinogradConv: {message}"):
        run(convolution("NormSiluWinogradConv", (4, 2, 3, 3), **attributes), {"x": zeros(1, 2, 5, 5)})


@needs_vectors
def test_a_weight_that_is_no_constant_is_refused() -> None:
    graph = convolution("WinogradConv", (4, 2, 3, 3), constant=False)
    with pytest.raises(Exception, match="g4v.WinogradConv: weight must be a constant of the graph"):
        run(graph, {"x": zeros(1, 2, 5, 5), "weight": zeros(4, 2, 3, 3)})


@needs_vectors
@pytest.mark.parametrize("shape", [(0, 2, 5, 5), (1, 2, 0, 5), (1, 2, 5, 0)])
def test_convolutions_of_nothing_give_nothing(shape: tuple) -> None:
    (found,) = run(convolution("WinogradConv", (4, 2, 3, 3)), {"x": zeros(*shape)})
    assert found.shape == (shape[0], 4, *shape[2:])
