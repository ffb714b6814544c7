"""Percentile bootstrap intervals (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt


def interval(
    count: int, statistic: Callable[[npt.NDArray[np.int64]], float], seed: int = 0, rounds: int = 1000
) -> tuple[float, float]:
    """95% interval of a statistic of `count` items, resampled with replacement.

    statistic: gets the drawn indices, int64 [count], and gives its value. (nan, nan) below two items.
    """
    if count < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(count, size=count)) for _ in range(rounds)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def of_mean(values: npt.ArrayLike, seed: int = 0, rounds: int = 1000) -> tuple[float, float]:
    """95% interval of the mean of values, float [n]."""
    found = np.asarray(values, np.float64)
    return interval(len(found), lambda chosen: float(found[chosen].mean()), seed, rounds)
