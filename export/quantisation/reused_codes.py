"""Codes of a decoder's graph that is written already, for a graph of another target."""

from __future__ import annotations

from pathlib import Path

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.quantisation.codes import Quantised
from g4v.export.quantisation.matmul_nbits import MATMUL_NBITS, read_codes


class ReusedCodes:
    """Reads the codes of `folder`/`stem`.onnx in its order (a `Quantiser`), so that both graphs share them.

    weights: of the decoder.
    folder, stem: the graph that holds codes, `folder`/`stem`.onnx.
    made: how the codes of that graph were made, as `Quantiser.made` has it.
    """

    def __init__(self, weights: LlamaWeights, folder: Path, stem: str, made: dict[str, str]) -> None:
        self.made = made
        self._weights = weights
        self._file = OnnxFile(folder / f"{stem}.onnx")
        self._nodes = (node for node in self._file.graph.node if node.op_type == MATMUL_NBITS)

    def __call__(self, *names: str) -> list[Quantised]:
        """Returns the codes of the matrices together, which may be in fewer parts than there are matrices."""
        shapes = [self._weights.shapes[f"{name}.weight"] for name in names]
        rows, parts = sum(shape[0] for shape in shapes), []
        while rows:
            parts.append(read_codes(self._file, next(self._nodes), shapes[0][1]))
            rows -= len(parts[-1].codes)
        return parts
