"""Merges a LoRA adapter into the weights it was trained on, in float32: W' = W + scaling * B A."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from g4v.export.errors import ExportError
from safetensors.torch import load_file

_PREFIX = "base_model.model."
# Settings that would change the merged weights in a way that this module does not implement, with their
# neutral value.
_NEUTRAL = {
    "use_dora": False,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "bias": "none",
    "use_qalora": False,
    "layer_replication": None,
    "trainable_token_indices": None,
    "target_parameters": None,
    "lora_bias": False,
}


def merge_lora(model: Any, folder: str | Path) -> int:
    """Adds the adapter in `folder` to the Linear weights of `model` in place; returns how many were changed.

    ExportError if the adapter is of another kind, has other shapes, names a module the model lacks, holds a
    tensor that is no LoRA factor, or is incomplete. Nothing is changed then.
    """
    folder = Path(folder)
    config = _read_config(folder)
    factors = _read_factors(folder)
    deltas = {}
    for name, pair in sorted(factors.items()):
        weight = _target(model, name)
        if set(pair) != {"lora_A", "lora_B"}:
            raise ExportError(f"{folder}: {name} has only one of its two LoRA factors")
        a, b = pair["lora_A"].double(), pair["lora_B"].double()
        rank = _by_pattern(config.get("rank_pattern"), name, config["r"])
        alpha = _by_pattern(config.get("alpha_pattern"), name, config["lora_alpha"])
        if a.shape != (rank, weight.shape[1]) or b.shape != (weight.shape[0], rank):
            raise ExportError(
                f"{folder}: {name} has factors of {tuple(b.shape)} and {tuple(a.shape)}, which do not fit "
                f"rank {rank} and a weight of {tuple(weight.shape)}: the adapter belongs to another model"
            )
        scaling = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
        deltas[name] = (b @ a) * scaling
    if not deltas:
        raise ExportError(f"{folder}: the adapter is empty")
    with torch.no_grad():
        for name, delta in deltas.items():
            weight = _target(model, name)
            weight.copy_((weight.double() + delta).to(weight.dtype))
    return len(deltas)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read ({error})") from None
    if config.get("peft_type") != "LORA":
        raise ExportError(f"{path}: peft_type is {config.get('peft_type')!r}, only 'LORA' can be merged")
    for key, neutral in _NEUTRAL.items():
        if config.get(key, neutral) not in (neutral, None, [], {}):
            raise ExportError(f"{path}: {key} = {config[key]!r} is not supported")
    return config


def _read_factors(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """{"model.layers.0.self_attn.q_proj": {"lora_A": [r, in], "lora_B": [out, r]}}."""
    path = folder / "adapter_model.safetensors"
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors raises its own class for damaged files
        raise ExportError(f"{path}: cannot be read ({error})") from None
    factors: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, kind = key.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        if kind not in ("lora_A", "lora_B") or not key.startswith(_PREFIX):
            raise ExportError(f"{path}: unexpected tensor {key!r}")
        factors.setdefault(name, {})[kind] = tensor
    return factors


def _target(model: Any, name: str) -> torch.Tensor:
    try:
        module = model.get_submodule(name)
    except AttributeError:
        raise ExportError(f"the adapter changes {name}, which the language model does not have") from None
    if not isinstance(module, torch.nn.Linear):
        raise ExportError(f"the adapter changes {name}, which is not a linear layer")
    return module.weight


def _by_pattern(patterns: dict[str, Any] | None, name: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that is the name or ends it after a dot."""
    for pattern, value in (patterns or {}).items():
        if name == pattern or name.endswith("." + pattern):
            return value
    return default
