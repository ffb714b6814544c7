"""Merges LoRA adapters into the weights they were trained on: W' = W + sum of weight * scaling * B A.

LoRA: Hu et al., 2022 (arXiv 2106.09685). Sums are taken in float64 and rounded once. DoRA (Liu et al., 2024,
arXiv 2402.09353) replaces W' by magnitude * W' / |W'|, with the norm of each row. The merged model computes
what PEFT computes with the adapters beside the base model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from g4v.export.checkpoint.adapter import Adapter, read_adapter_config, read_adapter_tensors
from g4v.export.errors import ExportError


class LoraMerge:
    """Merges adapters into the linear and embedding weights of a model, one weight at a time.

    model: a transformers language model. Only its module names and shapes are used, so it may be on the meta
    device.
    adapters: all of them are added; their order does not matter but for rounding.
    names: attribute, the sorted names of the modules that some adapter changes.

    ExportError: an adapter is of another kind or for another base model (shapes, module names), holds a
    tensor that is no LoRA factor, is incomplete, or is DoRA or replaces whole modules and is combined with
    other adapters.
    """

    def __init__(self, model: Any, adapters: Sequence[Adapter]) -> None:
        alone = len(adapters) == 1
        self._adapters = [_CheckedAdapter(model, adapter, alone) for adapter in adapters]
        self.names = sorted({name for adapter in self._adapters for name in adapter.names()})

    def apply(self, name: str, weight: Tensor) -> Tensor:
        """Returns the weight of the module `name` with all adapters added, in the data type of `weight`.

        `weight` itself is returned where no adapter changes the module.
        """
        if name not in self.names:
            return weight
        merged = None
        for adapter in self._adapters:
            if name in adapter.names():
                merged = adapter.merged(name, weight, merged)
        assert merged is not None
        return merged.to(weight.dtype)


class _CheckedAdapter:
    """One adapter, checked against the model that it changes."""

    def __init__(self, model: Any, adapter: Adapter, alone: bool) -> None:
        self.model, self.folder, self.weight, self.alone = model, adapter.folder, adapter.weight, alone
        self.config = read_adapter_config(self.folder)
        self.factors, self.whole = read_adapter_tensors(self.folder, self.config)
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
        """The new weight of a module, float64. before: with earlier adapters, None at the first."""
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


def _by_pattern(patterns: dict[str, Any] | None, name: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that is the name or ends it after a dot."""
    for pattern, value in (patterns or {}).items():
        if name == pattern or name.endswith("." + pattern):
            return value
    return default
