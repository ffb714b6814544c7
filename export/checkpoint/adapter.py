"""A PEFT LoRA folder: its configuration and its tensors, checked for what a merge can follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v._files import read_json
from g4v.export.checkpoint.adapter_config import check_adapter_config, names_whole
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.weight_files import WeightFiles, open_weights

_PREFIX = "base_model.model."
# PEFT saves the two tables also where it trained neither, if the vocabulary is not that of the base model.
TABLES = ("model.embed_tokens", "lm_head")

_FACTORS = {  # end of a tensor's name -> what it is
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_embedding_A": "A",
    ".lora_embedding_B": "B",
    ".lora_magnitude_vector": "magnitude",
}
_BASE = ".base_layer.weight"
_SAVED = ".modules_to_save.weight"  # some releases store it under its own name and that of its module
_BEFORE = ".original_module.weight"  # what modules_to_save replaces: not used while the adapter is


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter to merge.

    folder: as PEFT saves it, with adapter_config.json and adapter_model.safetensors.
    weight: factor on what the adapter adds to the base model.
    """

    folder: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Adapter:
        """Reads "FOLDER" or "FOLDER=WEIGHT" from a command line.

        ExportError: WEIGHT is not a finite number.
        """
        folder, sign, weight = text.rpartition("=")
        if not sign or Path(text).exists():
            return cls(Path(text))
        try:
            number = float(weight)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ExportError(f"adapter {text}: {weight!r} is no weight (write FOLDER=0.5)")
        return cls(Path(folder), number)


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Reads adapter_config.json of a PEFT folder.

    ExportError: the file is missing or damaged, the adapter is not LoRA, or a setting is malformed or one
    that a merge does not follow.
    """
    path = folder / "adapter_config.json"
    config = read_json(path, ExportError)
    check_adapter_config(path, config)
    return config


class AdapterTensors:
    """The tensors of a PEFT folder, adapter_model.safetensors or .bin; they are read when asked for.

    factors: attribute, the LoRA factors of each module by what they are, such as
        {"model.layers.0.self_attn.q_proj": {"A": key, "B": key}}; "magnitude" is DoRA's.
    whole: attribute, the key of the weight that replaces that of a module (modules_to_save), by module.
    base: attribute, the key of the weight that a module has without the adapter, by module: where PEFT saves
        an embedding together with its factors, or both tables of another vocabulary.
    shapes: attribute, the shape of the tensor of each key.

    ExportError: the files are missing or damaged, a tensor is none of these, or numbers are not finite.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        try:
            self._files: WeightFiles = open_weights(folder, "adapter_model")
        except CheckpointError as error:
            raise ExportError(str(error)) from None
        self.shapes = self._files.shapes
        self.factors: dict[str, dict[str, str]] = {}
        self.whole: dict[str, str] = {}
        self.base: dict[str, str] = {}
        for key in self.shapes:
            self._sort(key, config)
            if not self._files.dtypes[key].is_floating_point:
                raise ExportError(f"{self._files.place(key)}: {key} is not stored in a floating type")
            if not torch.isfinite(self.read(key).float()).all():  # FP8 has no isfinite
                raise ExportError(f"{self._files.place(key)}: {key} holds numbers that are not finite")
        for saved in config.get("modules_to_save") or []:
            if not any(names_whole([saved], module) for module in self.whole):
                raise ExportError(f"{folder}: modules_to_save names {saved!r}, of which there is no weight")

    def read(self, key: str) -> Tensor:
        """Reads one tensor in its stored type."""
        try:
            return self._files.read(key)
        except CheckpointError as error:
            raise ExportError(str(error)) from None

    def _sort(self, key: str, config: dict[str, Any]) -> None:
        name = key.removeprefix(_PREFIX)
        end = next((end for end in (*_FACTORS, _BASE, _SAVED, _BEFORE, ".weight") if name.endswith(end)), "")
        module = name.removesuffix(end)
        is_whole = names_whole(config.get("modules_to_save") or [], module)
        if key.startswith(_PREFIX) and end in _FACTORS:
            self.factors.setdefault(module, {})[_FACTORS[end]] = key
        elif key.startswith(_PREFIX) and end and (is_whole or end == _BASE or module in TABLES):
            if end == _BEFORE:
                return
            kind = self.whole if is_whole else self.base
            if not torch.equal(self.read(kind.setdefault(module, key)), self.read(key)):
                raise ExportError(f"{self._files.place(key)}: {kind[module]} and {key} differ")
        else:
            raise ExportError(f"{self._files.place(key)}: unexpected tensor {key!r}")
