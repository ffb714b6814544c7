"""Halves the data file of a graph whose weights float16 holds exactly.

Checkpoints are stored in float16, so most exported weights are float16 numbers in float32 clothes. Such ones
are written as float16 with a Cast behind each; ONNX Runtime widens them once, when it loads the graph, so the
arithmetic is the same. What float16 does not hold exactly (folded norms, merged adapters) stays as it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from g4v.export.graph.writer import ALIGNMENT

_SMALLEST = 4096  # bytes; smaller weights are not worth a node


def compact_graph(folder: Path, graph: str, data: str) -> None:
    """Rewrites `folder`/graph and `folder`/data in place, each through a temporary name."""
    model = onnx.load(folder / graph, load_external_data=False)
    old = np.memmap(folder / data, np.uint8, "r")
    casts = []
    temporary = folder / (data + ".tmp")
    with open(temporary, "wb") as out:
        for tensor in model.graph.initializer:
            if tensor.data_location != TensorProto.EXTERNAL:
                continue
            place = {entry.key: entry for entry in tensor.external_data}
            start, length = int(place["offset"].value), int(place["length"].value)
            content = old[start : start + length]
            if tensor.data_type == TensorProto.FLOAT and length >= _SMALLEST:
                wide = content.view(np.float32)
                with np.errstate(over="ignore"):
                    narrow = wide.astype(np.float16)
                if np.array_equal(narrow.astype(np.float32), wide):
                    casts.append(
                        helper.make_node("Cast", [tensor.name + ".f16"], [tensor.name], to=TensorProto.FLOAT)
                    )
                    tensor.name += ".f16"
                    tensor.data_type = TensorProto.FLOAT16
                    content = narrow.view(np.uint8)
            out.write(b"\0" * (-out.tell() % ALIGNMENT))
            place["offset"].value, place["length"].value = str(out.tell()), str(content.nbytes)
            out.write(content.tobytes())
    del old
    nodes = casts + list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    temporary.replace(folder / data)
    temporary = folder / (graph + ".tmp")
    temporary.write_bytes(model.SerializeToString(deterministic=True))
    temporary.replace(folder / graph)
