"""Codes of a decoder's graph that was written before, for a graph of another target."""

from __future__ import annotations

from pathlib import Path

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.quantisation.codes import Quantised
from g4v.export.quantisation.matmul_nbits import MATMUL_NBITS, read_codes


class Written:
    """Gives the codes of `folder`/`stem`.onnx in its own order (g4v.export.quantisation.rounding.Rounding).
    made: how that graph's codes were made.
    """

    def __init__(self, weights: LlamaWeights, folder: Path, stem: str, made: dict[str, str]) -> None:
        self.made = made
        self._weights = weights
        self._file = OnnxFile(folder / f"{stem}.onnx")
        self._nodes = (node for node in self._file.graph.node if node.op_type == MATMUL_NBITS)

    def __call__(self, *names: str) -> list[Quantised]:
        """Of the matrices together, which may be in fewer parts than there are matrices."""
        shapes = [self._weights.shapes[f"{name}.weight"] for name in names]
        rows, parts = sum(shape[0] for shape in shapes), []
        while rows:
            parts.append(read_codes(self._file, next(self._nodes), shapes[0][1]))
            rows -= len(parts[-1].codes)
        return parts
