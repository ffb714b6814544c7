"""UNets of older bundles read whole time steps: they are still compared, with time steps that are whole."""

import shutil

import onnx

from g4v.export.checkpoint.run import Checkpoint
from g4v.export.verify.comparison import verify_unet


def older(graph):
    """The graph as the exporter wrote it before: `timestep` is int64, and cast."""
    (timestep,) = (value for value in graph.input if value.name == "timestep")
    timestep.type.tensor_type.elem_type = onnx.TensorProto.INT64
    for node in graph.node:
        node.input[:] = ["timestep_cast" if name == "timestep" else name for name in node.input]
    cast = onnx.helper.make_node("Cast", ["timestep"], ["timestep_cast"], to=onnx.TensorProto.FLOAT)
    graph.node.insert(0, cast)


def test_an_older_graph_is_compared(run, bundle, tmp_path):
    for path in bundle.glob("unet*"):
        shutil.copy(path, tmp_path)
    model = onnx.load(tmp_path / "unet.onnx", load_external_data=False)
    checkpoint = Checkpoint.open(run)
    assert verify_unet(checkpoint.unet(), tmp_path, 16, 8) < 1e-4
    older(model.graph)
    onnx.save(model, tmp_path / "unet.onnx")
    assert verify_unet(checkpoint.unet(), tmp_path, 16, 8) < 1e-4
