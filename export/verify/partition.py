"""Cuts a written graph into pieces that run one after the other, with the weights of one piece in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from g4v.export.graph.writer import QUANTISED

EXACT = 0  # accuracy level: activations as they are, in place of rounded ones


class Pieces:
    """The pieces of `folder`/`stem`.onnx; a piece ends behind every node for which `ends` is true.

    All values that pass from one piece to another must be of the type `inner`.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        ends: Callable[[onnx.NodeProto], bool],
        inner: int = TensorProto.FLOAT,
    ) -> None:
        self.folder, self._inner = folder, inner
        self._model = onnx.load(folder / f"{stem}.onnx", load_external_data=False)
        graph = self._model.graph
        self.inputs = [value.name for value in graph.input]
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._groups: list[list[onnx.NodeProto]] = [[]]
        for node in graph.node:
            self._groups[-1].append(node)
            if ends(node):
                self._groups.append([])

    def __len__(self) -> int:
        return len(self._groups)

    def nodes(self, index: int, kind: str) -> Iterator[onnx.NodeProto]:
        """The nodes of one operator in a piece, in order."""
        return (node for node in self._groups[index] if node.op_type == kind)

    def __contains__(self, name: str) -> bool:
        """Whether there is a weight of this name."""
        return name in self._constants

    def constant(self, name: str) -> np.ndarray:
        """A copy of a weight."""
        tensor = self._constants[name]
        if tensor.data_location != TensorProto.EXTERNAL:
            return onnx.numpy_helper.to_array(tensor).copy()
        place = {entry.key: entry.value for entry in tensor.external_data}
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        count = int(place["length"]) // dtype.itemsize
        path = self.folder / place["location"]
        return np.fromfile(path, dtype, count, offset=int(place["offset"])).reshape(tensor.dims)

    def session(self, index: int, exact: bool = True) -> Any:
        """An onnxruntime session of one piece. exact: quantised products do not round their activations."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self.folder.absolute())
        )
        model = self._piece(index)
        for node in model.graph.node:
            for attribute in node.attribute if node.op_type == QUANTISED and exact else ():
                if attribute.name == "accuracy_level":
                    attribute.i = EXACT
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def _piece(self, index: int) -> onnx.ModelProto:
        group = self._groups[index]
        made = {name for node in group for name in node.output if name}
        used = list(dict.fromkeys(name for node in group for name in node.input if name))
        declared = {v.name: v for v in (*self._model.graph.input, *self._model.graph.output)}
        later = {name for nodes in self._groups[index + 1 :] for node in nodes for name in node.input}
        results = [name for name in made if name in later or name in declared]

        def info(name: str) -> onnx.ValueInfoProto:
            return declared.get(name) or helper.make_tensor_value_info(name, self._inner, None)

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        del model.graph.node[:], model.graph.initializer[:], model.graph.input[:], model.graph.output[:]
        del model.graph.value_info[:]
        model.graph.node.extend(group)
        model.graph.initializer.extend(self._constants[name] for name in used if name in self._constants)
        model.graph.input.extend(
            info(name) for name in used if name not in made and name not in self._constants
        )
        model.graph.output.extend(info(name) for name in sorted(results))
        return model
