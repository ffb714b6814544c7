"""What a graph for a target other than the CPU may be made of."""

from __future__ import annotations

from pathlib import Path

import onnx

from g4v.export.graph.cuda_kernels import check_kernels
from g4v.export.graph.onnx_file import OnnxFile


def check_operators(path: Path, cuda: bool) -> None:
    """cuda: the CUDA provider has a kernel for every node; else all are valid ONNX of the standard."""
    file = OnnxFile(path)
    if cuda:
        check_kernels(file)
    else:
        assert {node.domain for node in file.graph.node} == {""}
        onnx.checker.check_model(str(path))
