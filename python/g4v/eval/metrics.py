"""Rates and F1 with 95% confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_Z = 1.959964  # two-sided 95%


def wilson(right: float, total: float) -> tuple[float, float]:
    """Wilson's 95% interval of a rate; (0, 1) where nothing was counted."""
    if total <= 0:
        return 0.0, 1.0
    rate, spread = right / total, _Z * _Z / total
    middle = (rate + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(rate * (1 - rate) / total + spread / (4 * total)) / (1 + spread)
    # At 0 and 1 the interval ends there exactly; rounding would leave it a hair off.
    low = 0.0 if right == 0 else max(0.0, middle - half)
    return low, 1.0 if right == total else min(1.0, middle + half)


@dataclass
class Rate:
    """A rate: `right` of `total`."""

    right: int = 0
    total: int = 0

    def add(self, right: bool) -> None:
        """Counts one more."""
        self.right += bool(right)
        self.total += 1

    @property
    def value(self) -> float:
        """The rate, 0 to 1; not a number where nothing was counted."""
        return self.right / self.total if self.total else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval."""
        return wilson(self.right, self.total)


@dataclass
class Decisions:
    """Counts of a yes/no decision."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def add(self, said: bool, wanted: bool) -> None:
        """Counts one decision: whether "yes" was said, and whether it was right to say it."""
        self.true_positive += said and wanted
        self.false_positive += said and not wanted
        self.false_negative += wanted and not said
        self.true_negative += not said and not wanted

    @property
    def total(self) -> int:
        """Number of decisions."""
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    @property
    def value(self) -> float:
        """F1; not a number where nothing was positive and nothing was said to be."""
        wrong = self.false_positive + self.false_negative
        whole = 2 * self.true_positive + wrong
        return 2 * self.true_positive / whole if whole else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of F1 = 2J / (1 + J), J = TP / (TP + FP + FN) a plain rate with Wilson's interval."""
        count = self.true_positive + self.false_positive + self.false_negative
        low, high = wilson(self.true_positive, count)
        return 2 * low / (1 + low), 2 * high / (1 + high)

    @property
    def precision(self) -> Rate:
        """Precision: the share of "yes" answers that were right."""
        return Rate(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> Rate:
        """Recall: the share of cases with "yes" as the truth in which "yes" was said."""
        return Rate(self.true_positive, self.true_positive + self.false_negative)

    @property
    def false_alarms(self) -> Rate:
        """The share of cases with "no" as the truth in which "yes" was said."""
        return Rate(self.false_positive, self.false_positive + self.true_negative)


def f1(said: Iterable[bool], wanted: Iterable[bool]) -> Decisions:
    """Counts of paired decisions; `.value` is F1 and `.interval` its 95% interval."""
    decisions = Decisions()
    for one, other in zip(said, wanted, strict=True):
        decisions.add(one, other)
    return decisions


def median(values: Iterable[float]) -> float:
    """The middle value, of an even number the mean of the two middle ones; not a number where there is
    none.
    """
    ranked = sorted(values)
    if not ranked:
        return float("nan")
    middle = len(ranked) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2
