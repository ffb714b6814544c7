"""Finished ONNX files: read, changed and written whole."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from g4v.export.errors import ExportError
from g4v.export.graph.cpu import CPU
from g4v.export.graph.dtype import FLOAT16
from g4v.export.graph.onnx_file import ALIGNMENT, OnnxFile, Place
from g4v.export.graph.standard import StandardLowering

WEIGHTS = [np.arange(144, dtype=np.float32).reshape(12, 12) + index for index in range(3)]


def write(folder, stem="net", lowering=CPU):
    with lowering.open(folder, stem) as ops:
        x = ops.g.input("x", "float32", ["rows", 12])
        for index, weight in enumerate(WEIGHTS):
            x = ops.g.op("MatMul", x, ops.g.weight(weight, f"w{index}"))
        ops.g.output("y", x, "float32", ["rows", 12])
        ops.g.save()
    return folder / f"{stem}.onnx"


def places(path):
    graph = onnx.load(path, load_external_data=False).graph
    return {t.name: {e.key: e.value for e in t.external_data} for t in graph.initializer}


def test_constants_are_views_of_the_data_file(tmp_path):
    file = OnnxFile(write(tmp_path))
    assert list(file.tensors) == ["w0", "w1", "w2"] == [t.name for t in file.external()]
    for tensor, weight in zip(file.external(), WEIGHTS, strict=True):
        assert np.array_equal(file.array(tensor), weight) and file.data(tensor).nbytes == weight.nbytes
    assert isinstance(file.array(file.tensors["w0"]).base, np.memmap)


def test_small_constants_are_in_the_graph_file(tmp_path):
    with CPU.open(tmp_path, "small") as ops:
        ops.g.output("y", ops.g.weight(np.arange(3, dtype=np.float32)), "float32", [3])
        ops.g.save()
    file = OnnxFile(tmp_path / "small.onnx")
    (tensor,) = file.graph.initializer
    assert not file.external() and np.array_equal(file.array(tensor), [0, 1, 2])


def test_replaced_bytes_are_aligned_and_the_rest_stays(tmp_path):
    path = write(tmp_path)
    file = OnnxFile(path)
    tensor = file.tensors["w1"]
    half = file.array(tensor).astype(np.float16)
    file.put_nodes([helper.make_node("Cast", ["w1.f16"], ["w1"], to=TensorProto.FLOAT), *file.graph.node])
    file.replace(tensor, half, TensorProto.FLOAT16, "w1.f16")
    before = path.read_bytes(), (tmp_path / "net.data").read_bytes()
    assert before == (
        path.read_bytes(),
        (tmp_path / "net.data").read_bytes(),
    )  # nothing changes before `save`
    assert file.save() == ["net.data"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.data", "net.onnx"]
    found = OnnxFile(path)
    assert [node.op_type for node in found.graph.node][:2] == ["Cast", "MatMul"]
    for name, weight in zip(("w0", "w1.f16", "w2"), (WEIGHTS[0], half, WEIGHTS[2]), strict=True):
        assert np.array_equal(found.array(found.tensors[name]), weight)
        assert int(places(path)[name]["offset"]) % ALIGNMENT == 0
    onnx.checker.check_model(str(path))


def test_bytes_are_read_from_another_graph(tmp_path):
    write(tmp_path, "other")
    path = write(tmp_path)
    where = places(tmp_path / "other.onnx")
    file = OnnxFile(path)
    file.refer(file.tensors["w2"], Place("other.data", int(where["w2"]["offset"])))
    assert file.save() == ["net.data", "other.data"]
    for tensor in file.external():
        file.refer(tensor, Place("other.data", int(where[tensor.name]["offset"])))
    assert file.save() == ["other.data"] and not (tmp_path / "net.data").exists()
    found = OnnxFile(path)
    for tensor, weight in zip(found.external(), WEIGHTS, strict=True):
        assert np.array_equal(found.array(tensor), weight)


def test_an_unchanged_file_is_written_as_it_was(tmp_path):
    path = write(tmp_path, lowering=StandardLowering(FLOAT16))
    before = path.read_bytes(), (tmp_path / "net.data").read_bytes()
    assert OnnxFile(path).save() == ["net.data"]
    assert before == (path.read_bytes(), (tmp_path / "net.data").read_bytes())


def test_a_failed_write_leaves_the_files(tmp_path, monkeypatch):
    path = write(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    file = OnnxFile(path)
    file.replace(file.tensors["w0"], np.zeros((12, 12), np.float32), TensorProto.FLOAT, "w0")

    def full(self, tensor):
        raise OSError("No space left on device")

    monkeypatch.setattr(OnnxFile, "data", full)
    with pytest.raises(ExportError, match="net.data: cannot be written: No space"):
        file.save()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_graph_beside_it_is_gone_afterwards(tmp_path):
    path = write(tmp_path)
    file = OnnxFile(path)
    file.graph.output[0].name = "MatMul_2"
    with pytest.raises(RuntimeError), file.beside("probe") as place:
        assert place.name == ".net.probe.onnx"
        assert OnnxFile(place).graph.output[0].name == "MatMul_2"
        assert torch.equal(torch.tensor(OnnxFile(place).array(file.tensors["w0"])), torch.tensor(WEIGHTS[0]))
        raise RuntimeError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.data", "net.onnx"]
