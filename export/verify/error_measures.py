"""How far a graph's results are from PyTorch's: the error measures, and `Comparison`, which holds them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Comparison:
    """Errors of one exported graph against PyTorch.

    exact: on random inputs, with the weights that the graph holds. Largest difference over the largest value
        (`relative_error`); of graphs that compute in 16 or 8 bits `norm_error`.
    rounding: of the decoder with quantised weights: norm of the change of the logits over their norm, against
        the weights before quantisation. None for graphs whose weights are not quantised.
    weights: the part of `rounding` that is by the weights alone, in float64; the rest is by activations,
        which the graph rounds to 8 bits. None where `rounding` is.
    real: on real inputs (g4v.export.verify.samples), as `norm_error`; None where there are none. The
        decoder's `exact` and `real` are of the same text.
    """

    exact: float
    rounding: float | None
    real: float | None = None
    weights: float | None = None


def relative_error(actual: np.ndarray, expected: torch.Tensor) -> float:
    """Returns the largest absolute difference over the largest expected magnitude.

    Infinity is returned for another shape, and for numbers that are not finite.
    """
    wanted = expected.detach().double().numpy()
    if not _comparable(actual, wanted):
        return float("inf")
    return _share(float(np.abs(actual - wanted).max()), float(np.abs(wanted).max()))


def norm_error(actual: np.ndarray, expected: torch.Tensor) -> float:
    """Returns the L2 norm of the difference over the L2 norm of the expected values.

    It is for real inputs and for graphs of coarse data types: a few values of a trained model are far worse
    conditioned than the rest in any data type (a sharp attention may turn to another token), and say little
    about the graph. Infinity is returned for another shape, and for numbers that are not finite.
    """
    wanted = expected.detach().double().numpy()
    if not _comparable(actual, wanted):
        return float("inf")
    return _share(float(np.linalg.norm(actual - wanted)), float(np.linalg.norm(wanted)))


def probability_error(actual: np.ndarray, expected: torch.Tensor) -> float:
    """Returns the largest absolute difference of probabilities, however small they are.

    Infinity is returned for another shape, and for numbers that are not finite.
    """
    wanted = expected.detach().double().numpy()
    if not _comparable(actual, wanted):
        return float("inf")
    return float(np.abs(actual - wanted).max())


def _share(difference: float, size: float) -> float:
    """The one over the other. Where zeros are expected nothing but zeros is right: 0/0 would be no number,
    which `max` over several errors passes over.
    """
    if size == 0:
        return 0.0 if difference == 0 else float("inf")
    return difference / size


def _comparable(actual: np.ndarray, wanted: np.ndarray) -> bool:
    return actual.shape == wanted.shape and bool(np.isfinite(actual).all() and np.isfinite(wanted).all())
