"""Graphs for ONNX Runtime's CUDA provider: its fused operators, in float16 or float32.

Whether the provider has a kernel for every node is checked without a GPU, against the table of its kernels
(g4v.export.graph.cuda_kernels). A node without one would run on the CPU, with copies before and behind it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto

from g4v.export.errors import ExportError
from g4v.export.graph.cuda_kernels import check_node
from g4v.export.graph.half import Half
from g4v.export.graph.writer import Array, Graph

TARGET = "cuda"


class CudaGraph(Graph):
    """Values and weights are float32."""

    keeps_frames = False  # what is kept would travel to the GPU each time
    tiles = False

    # g4v's own operators have no CUDA kernels, or not in every installation.

    def residual_norm(self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array) -> tuple[str, str]:
        return self.skip_layer_norm(x, skip, norm, bias)

    def gated_norm(
        self, x: str, gate: torch.nn.Linear, through: torch.nn.Linear, norm: torch.nn.LayerNorm
    ) -> str:
        return self.gated_norm_by_parts(x, gate, through, norm)

    def memory_attention(self, queries: str, memory: str, heads: int, width: int, layer: int) -> str:
        return self.memory_attention_by_parts(queries, memory, heads, width, layer)


class CudaHalfGraph(Half, CudaGraph):
    """Values and weights are float16, inputs and outputs float32."""

    def op(self, kind: str, *inputs: str, **options: Any) -> Any:
        made = super().op(kind, *inputs, **options)
        if kind != "Cast" and inputs and inputs[0] in self._wide:
            self._wide.update([made] if isinstance(made, str) else filter(None, made))
        return made

    def skip_layer_norm(
        self, x: str, skip: str, norm: torch.nn.LayerNorm, bias: Array | None = None
    ) -> tuple[str, str]:
        if skip not in self._wide:
            return self._fused_skip(x, skip, norm, bias)
        normed, total = self._fused_skip(self.wide(x), skip, norm, bias, wide=True)
        self._wide.add(total)
        return self.narrow(normed), total

    def norm(self, kind: str, x: str, scale: Array, shift: Array, **attributes: Any) -> str:
        """The provider's kernels for float16 sum in float32 by themselves."""
        if x in self._wide:
            return super().norm(kind, x, scale, shift, **attributes)
        return self.op(kind, x, self.weight(scale), self.weight(shift), **attributes)


def check_kernels(folder: Path, graph: str) -> None:
    """ExportError for a node of `folder`/graph that the CUDA provider has no kernel for."""
    model = onnx.load(folder / graph, load_external_data=False)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        try:
            types |= check_node(node, types, opsets[node.domain])
        except LookupError as error:
            raise ExportError(f"{graph}: {error.args[0]}") from None
    for value in model.graph.output:
        if types[value.name] != value.type.tensor_type.elem_type:
            declared, found = (
                TensorProto.DataType.Name(t) for t in (value.type.tensor_type.elem_type, types[value.name])
            )
            raise ExportError(f"{graph}: {value.name} is declared as {declared} but computed as {found}")
