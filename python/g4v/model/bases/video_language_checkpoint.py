"""What a published video language model is whose frames have tokens of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.tensors import FloatFiles, PartTensors
from g4v.model.bases.weight_files import find_weight_files
from g4v.model.connector import Connector
from g4v.model.prompt import PromptTemplate
from g4v.weights.tensor_shapes import Shapes, check_shapes

PARTS = ("encoder", "abstractor", "llm")


@dataclass(frozen=True)
class TowerSizes:
    """What a tower computes of a frame's tokens.

    width: of its layers. intermediate: of their MLPs. states: hidden states, each of `width`, that it keeps
    until the last layer is done. features: width of what the connector reads.
    """

    width: int
    intermediate: int
    states: int
    features: int


class VideoLanguageCheckpoint(ABC):
    """The parts of a published checkpoint as they are: every tensor is read in place.

    folder: attribute, where it lies. notes: attribute, sentences for a person about what was assumed or is
    left out. has_weights: attribute; without its weight files a checkpoint has sizes, but `read` and what
    needs it raise CheckpointError.

    CheckpointError: files are missing or damaged, a setting is not supported, parts disagree, or a tensor is
    missing, left over or of another shape than config.json says.
    """

    title: ClassVar[str]  # of the model, as its authors have it

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._read_settings()
        self._stored: dict[str, dict[str, str]] = {part: {} for part in PARTS}
        try:
            find_weight_files(folder)
        except CheckpointError as error:
            self._missing: str | None = str(error)
        else:
            self._missing = None
            self._open()

    # What each layout says of itself.

    @abstractmethod
    def _read_settings(self) -> None:
        """Reads and checks configuration and processor."""

    @abstractmethod
    def _place(self, name: str) -> tuple[str, str] | None:
        """The part that a stored tensor belongs to, and its name in the part; None where no video needs it.
        CheckpointError: it is unknown.
        """

    @abstractmethod
    def _wanted(self, part: str) -> Mapping[str, tuple[int, ...]]:
        """The shapes of the tensors of "encoder" or "abstractor" that the files must hold, by config.json."""

    @abstractmethod
    def _stored_name(self, part: str, own: str) -> str:
        """What a tensor of "encoder" or "abstractor" that is missing would be called in the files."""

    @abstractmethod
    def text_config(self) -> Any:
        """A copy of the language model's LlamaConfig."""

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Edge of the square that the tower sees, pixels."""

    @property
    @abstractmethod
    def tokens_per_frame(self) -> int:
        """Features of a frame."""

    @property
    @abstractmethod
    def video_tokens(self) -> int:
        """Video tokens of a frame."""

    @property
    @abstractmethod
    def tower_sizes(self) -> TowerSizes:
        """Widths of the tower."""

    @property
    @abstractmethod
    def frame_sampling(self) -> dict[str, Any]:
        """How frames are taken: "frame_sampling" of a bundle's manifest."""

    @property
    @abstractmethod
    def resizing(self) -> dict[str, Any]:
        """How frames are resized, as a bundle's encoder has it."""

    @property
    @abstractmethod
    def image_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of pixels from 0 to 1, by channel."""

    @abstractmethod
    def template(self, tokenizer: Any) -> PromptTemplate:
        """The prompt template. tokenizer: the checkpoint's, of transformers. CheckpointError: they do not
        fit.
        """

    @abstractmethod
    def encoder(self) -> Any:
        """The tower, float32, in evaluation mode."""

    @abstractmethod
    def connector(self) -> Connector:
        """The connector, float32, in evaluation mode."""

    # What is the same for all.

    @property
    def has_weights(self) -> bool:
        return self._missing is None

    def require_weights(self) -> None:
        """CheckpointError unless the weight files are there."""
        if self._missing is not None:
            raise CheckpointError(self._missing)

    def shapes(self, part: str) -> Shapes:
        """Name -> shape of the tensors of a part that are read: "encoder", "abstractor" (the connector) or
        "llm".
        """
        if self.has_weights:
            return {own: self._files.shapes[name] for own, name in self._stored[part].items()}
        return self._shapes_of_text() if part == "llm" else dict(self._used(part))

    def read(self, part: str, name: str) -> Tensor:
        """Reads one tensor of a part as float32. CheckpointError: damaged, or a number is not finite."""
        self.require_weights()
        return self._files.read(self._stored[part][name])

    def language_model(self) -> PartTensors:
        """The tensors of the language model, which stay in their files until they are read."""
        return PartTensors(self, "llm")

    def _tensors(self, part: str) -> Iterator[tuple[str, Tensor]]:
        self.require_weights()
        for name in self._stored[part]:
            yield name, self.read(part, name)

    def _used(self, part: str) -> Mapping[str, tuple[int, ...]]:
        """Those of `_wanted` that are read; all, unless a layout leaves some out."""
        return self._wanted(part)

    def _open(self) -> None:
        self._files = FloatFiles(self.folder)
        stored: dict[str, dict[str, str]] = {part: {} for part in PARTS}
        for name in self._files.shapes:
            place = self._place(name)
            if place is not None:
                if place[1] in stored[place[0]]:
                    raise CheckpointError(
                        f"{self.folder}: {stored[place[0]][place[1]]} and {name} are names of one tensor"
                    )
                stored[place[0]][place[1]] = name
        for part in ("encoder", "abstractor"):
            wanted = self._wanted(part)
            names = {own: stored[part].get(own, self._stored_name(part, own)) for own in wanted}
            names |= stored[part]
            check_shapes(
                self.folder,
                {name: self._files.shapes[name] for name in stored[part].values()},
                {names[own]: shape for own, shape in wanted.items()},
            )
            used = self._used(part)
            stored[part] = {own: name for own, name in stored[part].items() if own in used}
        self._stored = stored

    def _shapes_of_text(self) -> Shapes:
        from transformers import LlamaForCausalLM

        config = self.text_config()
        shapes = meta_shapes(self.folder, lambda: LlamaForCausalLM(config))
        tied = bool(config.tie_word_embeddings)
        return {name: shape for name, shape in shapes.items() if name != "lm_head.weight" or not tied}


def meta_shapes(folder: Path, make: Callable[[], nn.Module]) -> Shapes:
    """The shapes of the state of the module that `make` returns, which gets no memory.

    CheckpointError: sizes of which no such module can be made.
    """
    try:
        with torch.device("meta"):
            module = make()
    except Exception as error:  # sizes of which PyTorch can make no tensor
        raise CheckpointError(
            f"{folder}: config.json: no such model can be made: {one_line(error)}"
        ) from None
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
