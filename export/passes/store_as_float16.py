"""Halves the data file of a float32 graph whose weights float16 holds exactly.

Checkpoints are stored in float16, so most exported weights are float16 numbers that were converted to
float32. Such ones are stored as float16 with a Cast behind each; ONNX Runtime converts them once, when it
loads the graph, so the arithmetic is the same. What float16 does not hold exactly (folded norms, merged
adapters) stays as it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from g4v.export.graph.onnx_file import OnnxFile

_SMALLEST = 4096  # bytes; smaller weights are not worth a node


def store_as_float16(path: Path) -> None:
    """Rewrites the graph `path` and its data file."""
    file = OnnxFile(path)
    casts = []
    for tensor in file.external():
        if tensor.data_type != TensorProto.FLOAT or file.data(tensor).nbytes < _SMALLEST:
            continue
        exact = file.array(tensor)
        with np.errstate(over="ignore"):
            half = exact.astype(np.float16)
        if np.array_equal(half.astype(np.float32), exact):
            name = f"{tensor.name}.f16"
            casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
            file.replace(tensor, half, TensorProto.FLOAT16, name)
    if casts:
        file.put_nodes([*casts, *file.graph.node])
        file.save()
