"""The optimiser of trained parameters: Adam, AdamW, or Muon for their matrices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from g4v.train.muon import Muon, matrices_of
from g4v.train.settings import Settings


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    matrices: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> torch.optim.Optimizer:
    """AdamW for all parameters but the `matrices` among them, which Muon steps (g4v.train.muon).

    betas: of AdamW. weight_decay: of tensors with two or more dimensions; vectors (biases, scales of norms)
    are not decayed. Without matrices and decay this is Adam with one group of parameters.
    """
    parameters, matrices = list(parameters), list(matrices)
    stepped = {id(p) for p in matrices}
    others = [p for p in parameters if id(p) not in stepped]
    groups: list[dict[str, Any]] = [{"params": others, "weight_decay": 0.0}]
    if weight_decay:
        groups = [
            {"params": [p for p in others if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        ]
    if not matrices:
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas)
    groups.insert(0, {"params": matrices, "weight_decay": weight_decay, "matrices": True})
    return Muon(groups, lr=learning_rate, betas=betas)


def stage_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimiser of the parameters of `model` that require gradients, as the settings of a stage say."""
    return build_optimizer(
        (p for p in model.parameters() if p.requires_grad),
        matrices_of(model) if settings.optimizer == "muon" else (),
        learning_rate=settings.learning_rate,
        betas=(0.9, settings.adam_beta2),
        weight_decay=settings.weight_decay,
    )


def learning_rate_factor(settings: Settings, step: int, steps: int, steps_per_epoch: int) -> float:
    """What the learning rate of a step is multiplied with.

    step: from 0. steps: of the whole stage. The factors of warm-up (linear from 0, reached after
    `settings.warmup` steps), of the epochs (`settings.gamma` after each) and of the cool-down (linear to 0
    over the last `settings.cooldown` of the steps).
    """
    warm = min(1.0, (step + 1) / max(1, settings.warmup))
    left = (steps - step) / max(1.0, settings.cooldown * steps)
    cool = min(1.0, max(0.0, left))
    return float(warm * cool * settings.gamma ** (step // steps_per_epoch))
