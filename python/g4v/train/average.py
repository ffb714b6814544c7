"""Moving averages of trained weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class WeightAverage:
    """An exponential moving average (EMA) of weights, by name, on the devices of the weights.

    decay: of the average, such as 0.99. Early steps have a shorter memory, so that the random start is soon
    forgotten: step n (from 1) keeps min(decay, (1 + n) / (10 + n)), as TensorFlow's
    ExponentialMovingAverage does.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Takes in the weights after optimiser step `step`, counted from 1."""
        if not self.tensors:
            self.tensors = {name: tensor.detach().clone() for name, tensor in weights.items()}
            return
        keep = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in weights.items():
            self.tensors[name].lerp_(tensor.detach(), 1 - keep)

    def restore(self, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
        """Goes on from the averages of a checkpoint; weights: of the same names, for their devices."""
        self.tensors = {name: tensor.to(weights[name].device) for name, tensor in tensors.items()}

    def on_host(self) -> dict[str, Tensor]:
        """Copies of the averages in host memory."""
        return {name: tensor.cpu().clone() for name, tensor in self.tensors.items()}
