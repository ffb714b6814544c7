"""Half-precision emulation: how graphs of 16 bits are run on the CPU."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from g4v.export.bundle.export import export_bundle
from g4v.export.graph.dtype import BFLOAT16, FLOAT16
from g4v.export.graph.standard import StandardLowering
from g4v.export.report.report import read_components
from g4v.export.verify.half_precision import emulated, half_type


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16], ids=["bf16", "fp16"])
def test_results_are_rounded_as_kernels_would(tmp_path, dtype):
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(24, 16, generator=generator), torch.randn(16, generator=generator)
    x = torch.randn(7, 24, generator=generator)
    with StandardLowering(dtype).open(tmp_path, "net.x") as ops:
        g = ops.g
        made = ops.matmul(g.input("x", "float32", ["rows", 24]), weight, bias)
        g.output("y", made, "float32", ["rows", 16])
        g.save()
    with emulated(tmp_path / "net.x.onnx") as path:
        session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {"x": x.numpy()})
    assert len(list(tmp_path.iterdir())) == 2  # nothing is left behind

    def short(array):
        return array.astype(dtype.numpy).astype(np.float32)

    wanted = short(short(short(x.numpy()) @ short(weight.numpy())) + short(bias.numpy()))
    # A sum in another order may round to the neighbour.
    assert np.mean(found == wanted) > 0.95
    np.testing.assert_allclose(found, wanted, rtol=float(ml_dtypes.finfo(dtype.numpy).eps), atol=1e-6)
    assert not np.array_equal(found, x.numpy() @ weight.numpy() + bias.numpy())


def test_errors_of_float16_graphs_are_those_of_rounded_results(run, tmp_path):
    """Of the frame checker ONNX Runtime would leave out every rounding, and find 1e-7."""
    export_bundle(run, tmp_path / "out", targets=["cuda"], only=["frame_checker"])
    (part,) = read_components(tmp_path / "out")
    assert 1e-5 < part.relative_error < 5e-3 and part.precision == "fp16"


def test_a_graph_that_only_stores_weights_so_is_left_alone(run, tmp_path):
    out = tmp_path / "out"
    export_bundle(run, out, store_as_float16=True, only=["encoder"])
    graph = onnx.load(out / "encoder.onnx", load_external_data=False).graph
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in graph.initializer}
    assert half_type(graph) is None
    with emulated(out / "encoder.onnx") as path:
        assert path == out / "encoder.onnx"
