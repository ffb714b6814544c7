"""Muon (Jordan et al., 2024): momentum whose matrices are made orthogonal before they are applied.

`torch.optim.Muon` computes in bfloat16, which CPUs without such instructions emulate at a fraction of their
speed, and leaves the other tensors to a second optimiser; this one computes in float32 and holds both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration, and how often it is applied.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
_PIXELS = 4  # most channels of a picture
_SMALLEST = 16  # rows or columns below which a matrix is left to AdamW


def orthogonalise(matrices: Tensor) -> Tensor:
    """[..., rows, columns] float -> the same singular vectors with values near 1 (0.7 to 1.2)."""
    flat = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if flat else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x.mT if flat else x


def matrices_of(model: nn.Module) -> list[nn.Parameter]:
    """The trained weights of linear and convolution layers that are matrices of some size, but for those that
    read pixels: as is usual, first layers are left to AdamW.
    """
    weights: Iterator[Any] = (
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and module.in_channels > _PIXELS)
    )
    return [w for w in dict.fromkeys(weights) if w.requires_grad and min(w.flatten(1).shape) >= _SMALLEST]


class Muon(torch.optim.AdamW):
    """AdamW in which groups with `matrices` set are stepped by Muon.

    The update of a matrix of full rank has a root mean square of the learning rate; convolution kernels
    [out, in, ...] are matrices [out, in * ...].
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float = 0.95, **options: Any) -> None:
        super().__init__([{"matrices": False, **group} for group in groups], **options)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every group; `closure` recomputes the loss, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        every = self.param_groups
        try:
            self.param_groups = [group for group in every if not group["matrices"]]
            super().step()
        finally:
            self.param_groups = every
        for group in every:
            if group["matrices"]:
                self._step_matrices(group)
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["step"] = torch.zeros(())  # AdamW's loading of a state asks for it
                state["momentum"] = torch.zeros_like(weight)
            state["step"] += 1
            mean = state["momentum"].lerp_(weight.grad, 1 - self.momentum)
            ahead = weight.grad.lerp(mean, self.momentum).flatten(1)  # Nesterov's look ahead
            alike[ahead.shape].append((weight, ahead))
        for (rows, columns), pairs in alike.items():
            steps = orthogonalise(torch.stack([ahead for _, ahead in pairs]))
            size = group["lr"] * max(rows, columns) ** 0.5
            for (weight, _), step in zip(pairs, steps, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(step.view_as(weight), alpha=size)
