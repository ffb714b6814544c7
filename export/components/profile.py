"""The sizes of a component's dynamic dimensions, for which an engine is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from g4v.export.errors import ExportError


@dataclass(frozen=True)
class DimensionRange:
    """Sizes that one dynamic dimension may have, as in an optimization profile of TensorRT.

    min, max: smallest and largest size that the engine takes, at least 1.
    opt: the size for which it is fastest.

    ExportError: the three are not in order.
    """

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise ExportError(f"a profile of {self.min}, {self.opt}, {self.max} is not in order")

    @classmethod
    def fixed(cls, size: int) -> DimensionRange:
        """Returns the range of a dimension that always has one size."""
        return cls(size, size, size)


ShapeProfile = Mapping[str, DimensionRange]
"""Ranges of a graph's dynamic dimensions, by the names that the graph declares for them."""
