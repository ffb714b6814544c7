"""Merges LoRA adapters into the weights they were trained on: W' = W + sum of weight * scaling * B A.

LoRA: Hu et al., 2022 (arXiv 2106.09685). Sums are taken in float64 and rounded once. DoRA (Liu et al., 2024,
arXiv 2402.09353) replaces W' by magnitude * W' / |W'|, with the norm of each row. The merged model computes
what PEFT computes with the adapters beside the base model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.checkpoint.adapter import TABLES, Adapter, AdapterTensors, read_adapter_config
from g4v.export.checkpoint.adapter_config import by_pattern, is_target
from g4v.export.errors import ExportError
from g4v.weights.lora import lora_delta


class LoraMerge:
    """Merges adapters into the weights of a model, one at a time.

    model: a transformers language model. Only its module names and shapes are used, so it may be on the meta
    device.
    adapters: all of them are added; their order does not matter but for rounding.
    names: attribute, the sorted names of the modules that some adapter changes.
    vocab_size: attribute, the number of rows of embedding and head after the merge; adapters that were
        trained on a larger vocabulary bring the whole tables.
    vocabulary: attribute, the folder of the adapter that brings them; None where they have the model's rows.

    ExportError: an adapter is of another kind or for another base model (shapes, module names), holds a
    tensor that is no LoRA factor, is incomplete, or is DoRA or replaces whole modules and is combined with
    other adapters.
    """

    def __init__(self, model: Any, adapters: Sequence[Adapter]) -> None:
        alone = len(adapters) == 1
        self._adapters = [_CheckedAdapter(model, adapter, alone) for adapter in adapters]
        self.vocab_size, self.vocabulary = _vocabulary(model, self._adapters)
        for adapter in self._adapters:
            adapter.check(self.vocab_size)
        self._bases: dict[str, tuple[_CheckedAdapter, str]] = {}
        for adapter in self._adapters:
            self._bases |= adapter.bases()
        changed = {name for adapter in self._adapters for name in adapter.names()}
        self.names = sorted(changed | set(self._bases))

    def apply(self, name: str, weight: Tensor) -> Tensor:
        """Returns the weight of the module `name` with all adapters added, in the data type of `weight`.

        `weight` itself is returned where no adapter changes the module.
        """
        if name not in self.names:
            return weight
        base = self._bases.get(name)
        merged = weight.double() if base is None else base[0].tensors.read(base[1]).double()
        for adapter in self._adapters:
            if name in adapter.names():
                merged = adapter.merged(name, merged)
        return merged.to(weight.dtype)


class _CheckedAdapter:
    """One adapter, checked against the model that it changes."""

    def __init__(self, model: Any, adapter: Adapter, alone: bool) -> None:
        self.model, self.folder, self.weight, self.alone = model, adapter.folder, adapter.weight, alone
        self.config = read_adapter_config(self.folder)
        self.tensors = AdapterTensors(self.folder, self.config)
        self.factors, self.whole = self.tensors.factors, self.tensors.whole
        if not self.factors and not self.whole and not self.tensors.base:
            raise ExportError(f"{self.folder}: the adapter is empty")
        self._tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight

    def names(self) -> set[str]:
        """The modules that it changes."""
        return set(self.factors) | set(self.whole)

    def rows(self) -> dict[str, int]:
        """The rows of the tables that it brings, by their modules."""
        keys = {name: key for name, (_, key) in self.bases().items()} | self.whole
        return {name: sum(self.tensors.shapes[key][:1]) for name, key in keys.items() if name in TABLES}

    def bases(self) -> dict[str, tuple[_CheckedAdapter, str]]:
        """The weights it is trained on: module -> this adapter, and the key. Tied tables are one weight."""
        found = dict(self.tensors.base)
        if self._tied:
            for name, other in (TABLES, TABLES[::-1]):
                if name in found:
                    found.setdefault(other, found[name])
        return {name: (self, key) for name, key in found.items()}

    def merged(self, name: str, weight: Tensor) -> Tensor:
        """The new weight of a module, float64. weight: with earlier adapters."""
        if name in self.whole:
            return self.tensors.read(self.whole[name]).double()
        factors = {what: self.tensors.read(key).double() for what, key in self.factors[name].items()}
        rank = self._rank(name)
        alpha = by_pattern(self.config.get("alpha_pattern"), name, self.config["lora_alpha"])
        scaling = alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)
        delta = torch.from_numpy(
            lora_delta(factors["A"].numpy(), factors["B"].numpy(), scaling * self.weight)
        )
        if isinstance(self._module(name), nn.Embedding):  # looks up columns of B A
            delta = delta.T
        changed = weight + delta
        if not self.config.get("use_dora"):
            return changed
        return changed * (factors["magnitude"] / changed.norm(dim=1))[:, None]

    def check(self, vocab_size: int) -> None:
        """Checks names and shapes. vocab_size: the rows of both tables after the merge."""
        for name, key in (*self.whole.items(), *self.tensors.base.items()):
            shape, found = self._shape(name, vocab_size), self.tensors.shapes[key]
            if found != shape:
                raise ExportError(self._does_not_fit(name, shape, f"a weight of {found}"))
        for name in self.whole:
            if name in self.factors:
                raise ExportError(f"{self.folder}: has both factors and a whole weight for {name}")
            if not self.alone or self.weight != 1:
                raise ExportError(
                    f"{self.folder}: replaces {name} as a whole, so it cannot be mixed or weighted"
                )
        for name, factors in self.factors.items():
            self._check_factors(name, factors, vocab_size)
        for name, module in self.model.named_modules():
            plain = isinstance(module, (nn.Linear, nn.Embedding))
            if plain and is_target(self.config, name) and name not in self.factors:
                raise ExportError(
                    f"{self.folder}: target_modules names {name}, of which there are no factors"
                )

    def _rank(self, name: str) -> int:
        rank: int = by_pattern(self.config.get("rank_pattern"), name, self.config["r"])
        return rank

    def _check_factors(self, name: str, factors: dict[str, str], vocab_size: int) -> None:
        module, shape = self._module(name), self._shape(name, vocab_size)
        if not isinstance(module, (nn.Linear, nn.Embedding)):
            raise ExportError(f"{self.folder}: changes {name}, which is not a linear layer")
        tied = self.config.get("ensure_weight_tying") and name in TABLES  # PEFT adapts both for one
        if not any(is_target(self.config, target) for target in (TABLES if tied else (name,))):
            raise ExportError(f"{self.folder}: has factors for {name}, which target_modules does not name")
        if not {"A", "B"} <= set(factors):
            raise ExportError(f"{self.folder}: {name} has only one of its two LoRA factors")
        a, b, rank = self.tensors.shapes[factors["A"]], self.tensors.shapes[factors["B"]], self._rank(name)
        outs, ins = shape[::-1] if isinstance(module, nn.Embedding) else shape
        if a != (rank, ins) or b != (outs, rank):
            raise ExportError(self._does_not_fit(name, shape, f"factors of {b} and {a} and a rank of {rank}"))
        self._check_dora(name, factors, shape)

    def _check_dora(self, name: str, factors: dict[str, str], shape: tuple[int, ...]) -> None:
        if not self.config.get("use_dora"):
            if "magnitude" in factors:
                raise ExportError(f"{self.folder}: {name} has DoRA's magnitudes, but use_dora is not true")
            return
        if not self.alone or self.weight != 1:
            raise ExportError(f"{self.folder}: is DoRA, which cannot be mixed or weighted")
        if not isinstance(self._module(name), nn.Linear) or "magnitude" not in factors:
            raise ExportError(f"{self.folder}: {name} lacks DoRA's magnitudes, or is not a linear layer")
        found = self.tensors.shapes[factors["magnitude"]]
        if found != shape[:1]:
            raise ExportError(self._does_not_fit(name, shape, f"magnitudes of {found}"))

    def _module(self, name: str) -> Any:
        try:
            module = self.model.get_submodule(name)
        except AttributeError:
            module = None
        if not isinstance(getattr(module, "weight", None), Tensor):
            raise ExportError(f"{self.folder}: changes {name}, which the language model does not have")
        return module

    def _shape(self, name: str, vocab_size: int) -> tuple[int, ...]:
        shape = tuple(self._module(name).weight.shape)
        return (vocab_size, *shape[1:]) if name in TABLES else shape

    def _does_not_fit(self, name: str, shape: tuple[int, ...], found: str) -> str:
        return (
            f"{self.folder}: {name} has {found}, which do not fit a weight of {shape}: the adapter "
            "belongs to another model"
        )


def _vocabulary(model: Any, adapters: Sequence[_CheckedAdapter]) -> tuple[int, Path | None]:
    """The rows of embedding and head after the merge, and the adapter that changes their number."""
    own = int(model.get_input_embeddings().weight.shape[0])
    found: tuple[int, Path | None] = (own, None)
    for adapter in adapters:
        rows = {name: own for name in TABLES} | adapter.rows()
        if len(set(rows.values())) > 1:
            sizes = " and ".join(f"{count} rows of {name}" for name, count in rows.items())
            raise ExportError(
                f"{adapter.folder}: with it there are {sizes}; an adapter for another vocabulary must hold "
                'both: train it with modules_to_save=["embed_tokens", "lm_head"]'
            )
        size = rows[TABLES[0]]
        if size != own:
            if found[1] is not None and found[0] != size:
                raise ExportError(f"{adapter.folder}: has {size} tokens, and {found[1]} has {found[0]}")
            found = size, adapter.folder
    return found
