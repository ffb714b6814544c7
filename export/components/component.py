"""What a component of a bundle is to the exporter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.lowerings import INT8, lowering_for
from g4v.export.components.profile import ShapeProfile
from g4v.export.graph.cuda import TARGET as CUDA
from g4v.export.graph.cuda_kernels import check_kernels
from g4v.export.graph.lowering import Lowering
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.graph.stems import stem_of
from g4v.export.passes.fp8 import quantise_fp8
from g4v.export.passes.keep_in_float32 import Measured, measure_graph
from g4v.export.verify import comparison as verify
from g4v.export.verify.comparison import Feeds
from g4v.export.verify.error_measures import Comparison

FP8 = "fp8"


class Component(ABC):
    """One component of a checkpoint: how it is loaded, built for a target, compared with PyTorch, described.

    name: as in the manifest. variants: target -> precision (g4v.export.components.precision).
    """

    name: ClassVar[str]
    int8_tolerance: ClassVar[float] = verify.INT8_NORM_TOLERANCE

    def __init__(self, checkpoint: Checkpoint, variants: Mapping[str, str]) -> None:
        self.checkpoint = checkpoint
        self.variants = variants
        self._codes: dict[str, dict[str, str]] = {}  # target -> product -> how its weights were quantised

    # What each component says of itself.

    @abstractmethod
    def load(self) -> Any:
        """The module, read from the checkpoint."""

    @abstractmethod
    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        """Writes the graph and its data; returns their names, the graph's first."""

    @abstractmethod
    def describe(self, module: Any) -> dict[str, Any]:
        """The manifest's keys but "variants"."""

    @property
    def profile(self) -> ShapeProfile:
        """Least, usual and largest size of each dynamic dimension that the core asks an engine for; nothing
        where no engines are built of the component.
        """
        return {}

    @abstractmethod
    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        """The relative error of the graph against `module`, which may come back in float64, on `feeds`, or
        else on random inputs.
        """

    def fitted_to(self, target: str) -> dict[str, Any] | None:
        """The calibration data of the written graph, as the manifest has it; None without."""
        return None

    # What is the same for all.

    def codes(self, target: str) -> dict[str, str] | None:
        """How the weights of each product of the written graph were quantised; None where none was."""
        return self._codes.get(target)

    def stem(self, target: str) -> str:
        """Returns the stem of the files that are written for a target, such as "unet.cuda"."""
        return stem_of(self.name, target)

    def lowering(self, target: str) -> Lowering:
        return lowering_for(self.name, target, self.variants[target])

    def write(self, module: Any, folder: Path, target: str) -> list[str]:
        """Writes the graph for a target, which `measure` then completes; returns the names of its files."""
        return self.build(module, folder, self.stem(target), self.lowering(target))

    def measure(self, folder: Path, target: str, feeds: Feeds) -> Measured | None:
        """Measures the graph in `folder` on real inputs, keeps in float32 what float16 would not hold, and
        quantises what is to be FP8; None without inputs. ExportError where the target could not run what
        comes of it.
        """
        stem, fp8, found = self.stem(target), self.variants[target] == FP8, None
        if feeds or fp8:
            float16 = self.lowering(target).dtype.name == "float16"
            found = measure_graph(folder, stem, feeds, float16)
        if fp8:
            self._codes[target] = quantise_fp8(folder / f"{stem}.onnx", feeds)
        if target == CUDA:
            check_kernels(OnnxFile(folder / f"{stem}.onnx"))
        return found

    def compare(self, module: Any, folder: Path, target: str, feeds: Feeds = ()) -> Comparison:
        """Compares the graph in `folder` with `module`, which may come back in float64, on random inputs and
        on the first two of `feeds`; an FP8 graph on all of these alone, which its scales were found on.
        ExportError if the graph is wrong.
        """
        stem = self.stem(target)
        if self.variants[target] == FP8:
            error = self.verify(module, folder, stem, feeds)
            verify.check(stem, error, verify.FP8_TOLERANCE)
            return Comparison(error, None, error)
        found, most = self._errors(module, folder, target, feeds[:2]), self._tolerance(self.lowering(target))
        verify.check(stem, found.exact, most)
        if found.real is not None:
            verify.check(stem, found.real, most)
        return found

    def _errors(self, module: Any, folder: Path, target: str, feeds: Feeds) -> Comparison:
        """The errors of the graph of `target` on random inputs and, if there are any, on `feeds`."""
        stem = self.stem(target)
        exact = self.verify(module, folder, stem)
        return Comparison(exact, None, self.verify(module, folder, stem, feeds) if feeds else None)

    def _tolerance(self, lowering: Lowering) -> float:
        if lowering == INT8:
            return self.int8_tolerance
        tolerances = {"float16": verify.FLOAT16_TOLERANCE, "bfloat16": verify.BFLOAT16_TOLERANCE}
        return tolerances.get(lowering.dtype.name, verify.TOLERANCE)
