"""A published mPLUG-Owl checkpoint as it is: every part is read in place, tensor by tensor.

`convert_checkpoint` makes folders of its parts, which takes as much disk again; an export needs none of that.
Wherever a folder of an encoder, an abstractor or a language model is read, the folder of such a checkpoint
may stand.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v._files import read_json
from g4v.model.abstractor import VideoAbstractor
from g4v.model.bases import layout
from g4v.model.bases.checkpoint_source import TOKENIZER_FILES, CheckpointSource
from g4v.model.bases.conversion import Conversion
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.tensors import PartTensors
from g4v.model.bases.weight_files import WeightFiles, find_weight_files
from g4v.model.vision import MplugOwlVideoTower


def is_mplug_owl(folder: Path) -> bool:
    """Whether config.json of a folder says that it is an mPLUG-Owl checkpoint. CheckpointError: damaged."""
    path = folder / "config.json"
    return path.is_file() and read_json(path, CheckpointError).get("model_type") == "mplug-owl"


def open_mplug_owl(folder: Path) -> MplugOwlCheckpoint:
    """The mPLUG-Owl checkpoint in a folder. The last one is kept while its files stay as they are: each of
    its parts has a reader of its own, and they need not check all tensors again. Errors as of the class.
    """
    files = [folder / "config.json", *find_weight_files(folder)]
    stats = [(file, file.stat()) for file in files]
    return _open(folder, tuple((file.name, stat.st_size, stat.st_mtime_ns) for file, stat in stats))


@lru_cache(maxsize=1)
def _open(folder: Path, files: tuple[tuple[str, int, int], ...]) -> MplugOwlCheckpoint:
    """files: name, size and time of each, so that a changed checkpoint is opened anew."""
    return MplugOwlCheckpoint(folder)


class MplugOwlCheckpoint:
    """The parts of an mPLUG-Owl (video) checkpoint; names and shapes of all tensors have been checked.

    notes: attribute, sentences about what was assumed, such as that the temporal weights are missing.

    CheckpointError: files are missing or damaged, or a tensor is missing, left over or of another shape than
    config.json says.
    """

    def __init__(self, folder: Path) -> None:
        source = CheckpointSource(folder)
        checked = Conversion(source, None, None)
        if checked.shapes["adapter"]:
            raise CheckpointError(
                f"{folder}: holds LoRA factors; convert it first: python -m g4v.model.bases convert {folder} "
                "--out RUN"
            )
        self.folder = folder
        self.notes: list[str] = checked.notes
        self._configs, self._shapes = checked.configs, checked.shapes
        self._files = WeightFiles(source.files)
        self._stored: dict[tuple[str, str], str] = {}
        for stored in self._files.shapes:
            if place := layout.place_tensor(stored):
                self._stored[place] = stored
                if not (dtype := self._files.dtypes[stored]).is_floating_point:
                    kind = str(dtype).removeprefix("torch.")
                    place_of = self._files.place(stored)
                    raise CheckpointError(f"{place_of}: {stored} is stored as {kind}, no floating type")

    def config(self, part: str) -> Any:
        """A copy of the VideoTowerConfig, AbstractorConfig or LlamaConfig: "encoder", "abstractor", "llm"."""
        return copy.deepcopy(self._configs[part])

    def shapes(self, part: str) -> layout.Shapes:
        """Name -> shape of the tensors of a part, by the names of its class."""
        if part == "llm":
            return dict(self._shapes[part])
        return layout.expected_shapes(part, self._configs[part])

    def read(self, part: str, name: str) -> Tensor:
        """Reads one tensor of a part as float32. CheckpointError: damaged, or a number is not finite."""
        stored = self._stored[part, name]
        tensor = self._files.read(stored, torch.float32)
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{self._files.place(stored)}: {stored} holds numbers that are not finite")
        return tensor

    def encoder(self) -> MplugOwlVideoTower:
        """The video tower, float32. Temporal weights that the checkpoint lacks make its path the identity."""
        return self._load("encoder", MplugOwlVideoTower(self._configs["encoder"]))

    def abstractor(self) -> VideoAbstractor:
        """The video abstractor, float32. Temporal weights that the checkpoint lacks are zero."""
        return self._load("abstractor", VideoAbstractor(self._configs["abstractor"]))

    def _load(self, part: str, module: Any) -> Any:
        tensors = {
            name: self.read(part, name).reshape(shape) if (part, name) in self._stored else torch.zeros(shape)
            for name, shape in self.shapes(part).items()
        }
        module.load_state_dict(tensors)
        return module.eval()

    def language_model(self) -> PartTensors:
        """The tensors of the language model, which stay in their files until they are read."""
        return PartTensors(self, "llm")


def load_owl_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of transformers of an mPLUG-Owl checkpoint: that of LLaMA, which it is published as.

    Its own class differs in defaults alone, and its code is not run. CheckpointError: there is none.
    """
    from transformers import AutoTokenizer, LlamaTokenizerFast

    if not any((folder / name).exists() for name in TOKENIZER_FILES[:2]):
        raise CheckpointError(f"{folder}: no tokenizer.json and no tokenizer.model")
    if not (folder / TOKENIZER_FILES[0]).exists():
        _check_sentencepiece(folder / TOKENIZER_FILES[1])
    settings = folder / "tokenizer_config.json"
    about = read_json(settings, CheckpointError) if settings.exists() else {}
    own = "auto_map" in about or about.get("tokenizer_class") == "MplugOwlTokenizer" or not about
    kind: Any = LlamaTokenizerFast if own else AutoTokenizer
    return kind.from_pretrained(folder, local_files_only=True)


def _check_sentencepiece(path: Path) -> None:
    from sentencepiece import SentencePieceProcessor

    try:
        size = SentencePieceProcessor(model_file=str(path)).vocab_size()
    except Exception:  # its own classes, and RuntimeError with the place in its source
        size = 0
    if not size:
        raise CheckpointError(f"{path}: damaged: holds no SentencePiece model; download it again")
