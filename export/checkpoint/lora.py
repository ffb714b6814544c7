"""Merges LoRA adapters into the weights they were trained on: W' = W + sum of weight * scaling * B A.

Sums are taken in float64 and rounded once. DoRA (Liu et al., 2024) replaces W' by magnitude * W' / |W'|, with
the norm of each row. The merged model computes what PEFT computes with the adapters beside the base.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from g4v.export.errors import ExportError

_PREFIX = "base_model.model."
# Settings that mean nothing to a merge, or that the merge below follows. fan_in_fan_out is for layers that
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
# Ways to start an adapter that also change the weights below it: W is not the base model's any more.
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
    """A PEFT LoRA folder, and how much of it to add."""

    folder: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Adapter:
        """ "FOLDER" or "FOLDER=WEIGHT"; ExportError: the weight is no finite number."""
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


class Merge:
    """What adapters make of the linear and embedding weights of `model`, which may be on the meta device:
    its names and shapes are what counts.

    ExportError if an adapter is of another kind or another base (shapes, module names), holds a tensor that
    is no LoRA factor, is incomplete, or if DoRA or whole modules are to be combined with other adapters.
    """

    def __init__(self, model: Any, adapters: Sequence[Adapter]) -> None:
        self._readers = [_Reader(model, adapter, alone=len(adapters) == 1) for adapter in adapters]
        self.names = sorted({name for reader in self._readers for name in reader.names()})

    def apply(self, name: str, weight: Tensor) -> Tensor:
        """The weight of the module `name` with all adapters; `weight` itself where none changes it."""
        if name not in self.names:
            return weight
        merged = None
        for reader in self._readers:
            if name in reader.names():
                merged = reader.merged(name, weight, merged)
        assert merged is not None
        return merged.to(weight.dtype)


class _Reader:
    """One adapter, checked against the model that it shall change."""

    def __init__(self, model: Any, adapter: Adapter, alone: bool) -> None:
        self.model, self.folder, self.weight, self.alone = model, adapter.folder, adapter.weight, alone
        self.config = _read_config(self.folder)
        self.factors, self.whole = self._read_tensors()
        if not self.factors and not self.whole:
            raise ExportError(f"{self.folder}: the adapter is empty")
        for name, tensor in self.whole.items():
            self._check_whole(name, tensor)
        for name, factors in self.factors.items():
            self._check_factors(name, factors)

    def names(self) -> set[str]:
        """The modules that it changes."""
        return set(self.factors) | set(self.whole)

    def merged(self, name: str, weight: Tensor, before: Tensor | None) -> Tensor:
        """The new weight of a module, float64. before: what earlier adapters made of it."""
        if name not in self.factors:
            return self.whole[name].double()
        factors = self.factors[name]
        rank = self._rank(name)
        scaling = self._alpha(name) / (math.sqrt(rank) if self.config.get("use_rslora") else rank)
        delta = (factors["B"].double() @ factors["A"].double()) * (scaling * self.weight)
        if isinstance(self._module(name), nn.Embedding):  # looks up columns of B A
            delta = delta.T
        base = before
        if base is None:  # PEFT may store an embedding together with its adapter
            base = factors.get("base", weight).double()
        if not self.config.get("use_dora"):
            return base + delta
        changed = base + delta
        return changed * (factors["magnitude"].double() / changed.norm(dim=1))[:, None]

    def _rank(self, name: str) -> int:
        return _by_pattern(self.config.get("rank_pattern"), name, self.config["r"])

    def _alpha(self, name: str) -> float:
        return _by_pattern(self.config.get("alpha_pattern"), name, self.config["lora_alpha"])

    def _check_whole(self, name: str, tensor: Tensor) -> None:
        module = self._module(name)
        if tensor.shape != module.weight.shape:
            raise ExportError(self._does_not_fit(name, module.weight, f"a weight of {tuple(tensor.shape)}"))
        tied = self.model.get_output_embeddings().weight is self.model.get_input_embeddings().weight
        if tied and module is self.model.get_input_embeddings():
            raise ExportError(
                f"{self.folder}: replaces {name}, which is the output head, too: say in the base's "
                "config.json that they are not tied (tie_word_embeddings)"
            )
        if not self.alone or self.weight != 1:
            raise ExportError(f"{self.folder}: replaces {name} as a whole, so it cannot be mixed or weighted")

    def _check_factors(self, name: str, factors: dict[str, Tensor]) -> None:
        module = self._module(name)
        if not {"A", "B"} <= set(factors):
            raise ExportError(f"{self.folder}: {name} has only one of its two LoRA factors")
        a, b, rank = factors["A"], factors["B"], self._rank(name)
        rows, columns = module.weight.shape
        outs, ins = (columns, rows) if isinstance(module, nn.Embedding) else (rows, columns)
        if a.shape != (rank, ins) or b.shape != (outs, rank):
            found = f"factors of {tuple(b.shape)} and {tuple(a.shape)} and a rank of {rank}"
            raise ExportError(self._does_not_fit(name, module.weight, found))
        stored = factors.get("base")
        if stored is not None and stored.shape != module.weight.shape:
            raise ExportError(self._does_not_fit(name, module.weight, f"a weight of {tuple(stored.shape)}"))
        if self.config.get("use_dora"):
            self._check_dora(name, factors)

    def _check_dora(self, name: str, factors: dict[str, Tensor]) -> None:
        if not self.alone or self.weight != 1:
            raise ExportError(f"{self.folder}: is DoRA, which cannot be mixed or weighted")
        module = self._module(name)
        if not isinstance(module, nn.Linear) or "magnitude" not in factors:
            raise ExportError(f"{self.folder}: {name} lacks DoRA's magnitudes, or is not a linear layer")
        magnitude = factors["magnitude"]
        if magnitude.shape != module.weight.shape[:1]:
            found = f"magnitudes of {tuple(magnitude.shape)}"
            raise ExportError(self._does_not_fit(name, module.weight, found))

    def _module(self, name: str) -> Any:
        try:
            module = self.model.get_submodule(name)
        except AttributeError:
            raise ExportError(
                f"{self.folder}: changes {name}, which the language model does not have"
            ) from None
        if not isinstance(module, (nn.Linear, nn.Embedding)):
            raise ExportError(f"{self.folder}: changes {name}, which is not a linear layer")
        return module

    def _does_not_fit(self, name: str, weight: Tensor, found: str) -> str:
        return (
            f"{self.folder}: {name} has {found}, which do not fit a weight of {tuple(weight.shape)}: the "
            "adapter belongs to another model"
        )

    def _read_tensors(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
        """{"model.layers.0.self_attn.q_proj": {"A": [r, in], "B": [out, r]}}, and whole modules' weights."""
        path = self.folder / "adapter_model.safetensors"
        try:
            tensors = load_file(path)
        except Exception as error:  # safetensors raises its own class for damaged files
            raise ExportError(f"{path}: cannot be read ({error})") from None
        factors: dict[str, dict[str, Tensor]] = {}
        whole: dict[str, Tensor] = {}
        saved = self.config.get("modules_to_save") or []
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


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read ({error})") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise ExportError(f"{path}: peft_type is {kind!r}, only 'LORA' can be merged")
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


def _by_pattern(patterns: dict[str, Any] | None, name: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that is the name or ends it after a dot."""
    for pattern, value in (patterns or {}).items():
        if name == pattern or name.endswith("." + pattern):
            return value
    return default
