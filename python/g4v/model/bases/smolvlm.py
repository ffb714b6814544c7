"""A published SmolVLM2 checkpoint as it is: every part is read in place, tensor by tensor.

Wherever a folder of an encoder, a connector or a language model is read, the folder of such a checkpoint may
stand, as that of mPLUG-Owl's may.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.smolvlm_config import read_smolvlm_config
from g4v.model.bases.smolvlm_processor import PROCESSOR_FILES, read_video_processor
from g4v.model.bases.tensors import FloatFiles, PartTensors
from g4v.model.bases.weight_files import find_weight_files
from g4v.model.connector import PixelShuffle, PixelShuffleConfig
from g4v.model.siglip import SiglipEncoder
from g4v.weights.tensor_shapes import Shapes, check_shapes

# Part -> how its tensors' names begin in the checkpoint, and what stands for that in the part's class.
_PREFIXES = {
    "encoder": (("model.vision_model.", ""),),
    "abstractor": (("model.connector.modality_projection.", ""),),
    "llm": (("model.text_model.", "model."), ("lm_head.", "lm_head.")),
}


def open_smolvlm(folder: Path) -> SmolVlmCheckpoint:
    """The SmolVLM2 checkpoint in a folder. The last one is kept while its files stay as they are.

    CheckpointError: as of the class.
    """
    names = ["config.json", *(name for name in PROCESSOR_FILES if (folder / name).is_file())]
    files = [*(folder / name for name in names), *find_weight_files(folder)]
    stats = [(file, file.stat()) for file in files]
    return _open(folder, tuple((file.name, stat.st_size, stat.st_mtime_ns) for file, stat in stats))


@lru_cache(maxsize=1)
def _open(folder: Path, files: tuple[tuple[str, int, int], ...]) -> SmolVlmCheckpoint:
    """files: name, size and time of each, so that a changed checkpoint is opened anew."""
    return SmolVlmCheckpoint(folder)


class SmolVlmCheckpoint:
    """The parts of a SmolVLM2 checkpoint; settings, and names and shapes of all tensors, have been checked.

    config: attribute, a SmolVlmConfig. processor: attribute, a VideoProcessor.

    CheckpointError: files are missing or damaged, a setting is not supported, parts disagree, or a tensor is
    missing, left over or of another shape than config.json says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_smolvlm_config(folder)
        self.processor = read_video_processor(folder)
        self._check_sizes()
        self._files = FloatFiles(folder)
        self._stored: dict[str, dict[str, str]] = {part: {} for part in _PREFIXES}
        for name in self._files.shapes:
            part, own = _place(folder, name)
            self._stored[part][own] = name
        for part in ("encoder", "abstractor"):
            with torch.device("meta"):
                module = self._make(part)
            wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
            prefix = _PREFIXES[part][0][0]
            check_shapes(
                folder,
                {prefix + name: shape for name, shape in self.shapes(part).items()},
                {prefix + name: shape for name, shape in _bare(part, wanted).items()},
            )

    def _check_sizes(self) -> None:
        vision, size = self.config.vision, self.processor.size
        scale, patch = self.config.scale_factor, vision.patch_size
        place = self.folder
        if size % (patch * scale):
            raise CheckpointError(
                f"{place}: max_image_size is {size} pixels, no multiple of {patch * scale}: patches of "
                f"{patch}, of which {scale} make a token"
            )
        made = (size // (patch * scale)) ** 2
        if self.processor.image_seq_len != made:
            raise CheckpointError(
                f"{place}: image_seq_len is {self.processor.image_seq_len}, and the connector makes {made} "
                "tokens of a frame"
            )

    @property
    def tokens_per_frame(self) -> int:
        """Features of a frame."""
        return int((self.processor.size // self.config.vision.patch_size) ** 2)

    def shapes(self, part: str) -> Shapes:
        """Name -> shape of the stored tensors of a part: "encoder", "abstractor" (the connector) or "llm"."""
        return {own: self._files.shapes[name] for own, name in self._stored[part].items()}

    def read(self, part: str, name: str) -> Tensor:
        """Reads one tensor of a part as float32. CheckpointError: damaged, or a number is not finite."""
        return self._files.read(self._stored[part][name])

    def encoder(self) -> SiglipEncoder:
        """The tower, float32, in evaluation mode."""
        module = self._make("encoder")
        tensors = {f"model.{name}": self.read("encoder", name) for name in self._stored["encoder"]}
        module.load_state_dict(tensors)
        return module.eval()

    def connector(self) -> PixelShuffle:
        """The connector, float32, in evaluation mode."""
        module = self._make("abstractor")
        module.load_state_dict({name: self.read("abstractor", name) for name in self._stored["abstractor"]})
        return module.eval()

    def _make(self, part: str) -> Any:
        if part == "abstractor":
            config = PixelShuffleConfig(
                self.config.vision.hidden_size,
                self.tokens_per_frame,
                self.config.scale_factor,
                self.config.text.hidden_size,
            )
            return PixelShuffle(config)
        from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionTransformer

        try:
            return SiglipEncoder(
                SmolVLMVisionTransformer(copy.deepcopy(self.config.vision)), self.processor.size
            )
        except Exception as error:  # sizes of which PyTorch can make no tensor
            raise CheckpointError(
                f"{self.folder}: config.json: no such tower can be made: {one_line(error)}"
            ) from None

    def text_config(self) -> Any:
        """A copy of the language model's LlamaConfig."""
        return copy.deepcopy(self.config.text)

    def language_model(self) -> PartTensors:
        """The tensors of the language model, which stay in their files until they are read."""
        return PartTensors(self, "llm")


def _place(folder: Path, name: str) -> tuple[str, str]:
    """The part that a checkpoint's tensor belongs to, and its name in that part."""
    for part, prefixes in _PREFIXES.items():
        for prefix, own in prefixes:
            if name.startswith(prefix):
                return part, own + name[len(prefix) :]
    raise CheckpointError(f"{folder}: unexpected tensor {name}")


def _bare(part: str, shapes: Shapes) -> Shapes:
    return {name.removeprefix("model.") if part == "encoder" else name: shapes[name] for name in shapes}
