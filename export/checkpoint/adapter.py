"""A PEFT LoRA folder: its configuration and tensors, checked for what a merge can follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from g4v._files import read_json
from g4v.export.errors import ExportError

_PREFIX = "base_model.model."
# Settings that mean nothing to a merge, or that `lora.LoraMerge` follows. fan_in_fan_out is for layers that
# Llama does not have; PEFT, too, ignores it on linear ones.
_KNOWN = set(
    """
    peft_type peft_version base_model_name_or_path revision task_type inference_mode auto_mapping
    runtime_config target_modules exclude_modules layers_to_transform layers_pattern modules_to_save r
    lora_alpha lora_dropout rank_pattern alpha_pattern use_rslora use_dora fan_in_fan_out init_lora_weights
    loftq_config eva_config corda_config lora_ga_config megatron_config megatron_core qalora_group_size
    """.split()
)
_NEUTRAL: tuple[Any, ...] = (None, False, "none", [], {})
# Initialisations that also change the weights below the adapter: W is not the base model's any more.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")

_FACTORS = {  # end of a tensor's name -> what it is
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_embedding_A": "A",
    ".lora_embedding_B": "B",
    ".lora_magnitude_vector": "magnitude",
    ".base_layer.weight": "base",
}


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

    ExportError: the file is missing or damaged, the adapter is not LoRA, or a setting is one that a merge
    does not follow.
    """
    path = folder / "adapter_config.json"
    config = read_json(path, ExportError)
    if config.get("peft_type") != "LORA":
        raise ExportError(f"{path}: peft_type is {config.get('peft_type')!r}, only 'LORA' can be merged")
    for key, value in config.items():
        if key not in _KNOWN and value not in _NEUTRAL:
            raise ExportError(f"{path}: {key} = {value!r} is not supported")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise ExportError(
            f"{path}: init_lora_weights = {start!r} changes the base model; save it as a plain LoRA with "
            "PEFT (save_pretrained(..., path_initial_model_for_weight_conversion=...))"
        )
    if not isinstance(config.get("r"), int) or not isinstance(config.get("lora_alpha"), (int, float)):
        raise ExportError(f"{path}: r or lora_alpha is missing")
    return config


def read_adapter_tensors(
    folder: Path, config: dict[str, Any]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Reads adapter_model.safetensors of a PEFT folder.

    Returns the LoRA factors by module, such as {"model.layers.0.self_attn.q_proj": {"A": [r, in],
    "B": [out, r]}}, and the weights of modules that the adapter replaces as a whole (modules_to_save).

    ExportError: the file is missing or damaged, a tensor is neither of both, or numbers are not finite.
    """
    path = folder / "adapter_model.safetensors"
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors raises its own class for damaged files
        raise ExportError(f"{path}: cannot be read ({error})") from None
    factors: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    saved = config.get("modules_to_save") or []
    for key, tensor in tensors.items():
        name = key.removeprefix(_PREFIX)
        end = next((end for end in _FACTORS if name.endswith(end)), None)
        if key.startswith(_PREFIX) and end:
            factors.setdefault(name.removesuffix(end), {})[_FACTORS[end]] = tensor
        elif key.startswith(_PREFIX) and name.removesuffix(".weight").split(".")[-1] in saved:
            whole[name.removesuffix(".weight")] = tensor
        else:
            raise ExportError(f"{path}: unexpected tensor {key!r}")
        if not torch.isfinite(tensor).all():
            raise ExportError(f"{path}: {key} holds numbers that are not finite")
    return factors, whole
