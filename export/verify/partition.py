"""Partition of a written graph: parts that run one after the other, with the weights of one in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.quantisation.matmul_nbits import MATMUL_NBITS, use_float_activations


class Partition:
    """The parts of `folder`/`stem`.onnx; a part ends behind every node for which `ends` is true.

    All values that pass from one part to another must be of the TensorProto type `inner`.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        ends: Callable[[onnx.NodeProto], bool],
        inner: int = TensorProto.FLOAT,
    ) -> None:
        self.file, self._inner = OnnxFile(folder / f"{stem}.onnx"), inner
        self._parts: list[list[onnx.NodeProto]] = [[]]
        for node in self.file.graph.node:
            self._parts[-1].append(node)
            if ends(node):
                self._parts.append([])

    def __len__(self) -> int:
        return len(self._parts)

    def nodes(self, index: int, kind: str) -> Iterator[onnx.NodeProto]:
        """The nodes of one operator in a part, in order."""
        return (node for node in self._parts[index] if node.op_type == kind)

    def session(self, index: int, exact: bool = True) -> Any:
        """An onnxruntime session of one part. exact: quantised products do not round their activations."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self.file.folder.absolute())
        )
        model = self._model(index)
        if exact:
            for node in model.graph.node:
                if node.op_type == MATMUL_NBITS:
                    use_float_activations(node)
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def _model(self, index: int) -> onnx.ModelProto:
        nodes, graph, constants = self._parts[index], self.file.graph, self.file.tensors
        made = {name for node in nodes for name in node.output if name}
        used = list(dict.fromkeys(name for node in nodes for name in node.input if name))
        declared = {value.name: value for value in (*graph.input, *graph.output)}
        later = {name for part in self._parts[index + 1 :] for node in part for name in node.input}
        results = [name for name in made if name in later or name in declared]

        def info(name: str) -> onnx.ValueInfoProto:
            return declared.get(name) or helper.make_tensor_value_info(name, self._inner, None)

        model = onnx.ModelProto()
        model.CopyFrom(self.file.model)
        del model.graph.node[:], model.graph.initializer[:], model.graph.input[:], model.graph.output[:]
        del model.graph.value_info[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(constants[name] for name in used if name in constants)
        model.graph.input.extend(info(name) for name in used if name not in made and name not in constants)
        model.graph.output.extend(info(name) for name in sorted(results))
        return model
