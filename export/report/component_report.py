"""What an export found about one component: an entry of report.json."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from g4v.export.verify.activation_ranges import LIMIT


@dataclass(frozen=True)
class ComponentReport:
    """One variant of a component: the component as it was written for one target.

    name, target, precision: as in the manifest.
    weights: number of weights of the component.
    bytes: size of the variant's files, without those that an earlier variant has.
    relative_error: against PyTorch in float64 on seeded random inputs, with the weights that the graph holds
        (of fp8 on real inputs); `verify.error_measures.Comparison.exact`.
    rounding_error: of quantised weights: norm of what quantisation changed in the result over the norm of the
        result; None where weights are not quantised.
    weight_error: the part of rounding_error that is by the weights; the rest is by activations in 8 bits.
    seconds, peak_bytes: elapsed time and largest resident memory of the steps; the latter is None where the
        system does not say.
    fitted_to: calibration data of quantised weights; None without any.
    codes: how each quantised matrix got its codes, by its name (`quantisation.quantiser.Quantiser.made`), or
        which products are in "fp8" and which stay in "fp16".
    real_error: on real inputs; None where there are none.
    samples: which clips and captions the real inputs are made from; None where there are none.
    largest, kept, left: ranges of values on real inputs, as in `passes.keep_in_float32.Measured`; None where
        there are none.
    steps: name, seconds, cpu_seconds and peak_bytes of each step (`profiler.Step`).
    engine: options that an engine was built with; None for other targets.
    """

    name: str
    precision: str
    weights: int
    bytes: int
    relative_error: float
    rounding_error: float | None
    seconds: float
    peak_bytes: int | None
    fitted_to: dict[str, Any] | None = None
    target: str = "cpu"
    codes: dict[str, str] | None = None
    real_error: float | None = None
    samples: dict[str, Any] | None = None
    largest: dict[str, float] | None = None
    kept: dict[str, float] | None = None
    left: float | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    engine: dict[str, Any] | None = None
    weight_error: float | None = None

    @property
    def label(self) -> str:
        """The component's name, with the target where it is not the CPU: "unet (cuda)"."""
        return self.name if self.target == "cpu" else f"{self.name} ({self.target})"

    @property
    def random_error(self) -> float | None:
        """relative_error where it is of random inputs: graphs in fp8 are compared on real inputs only."""
        return None if self.precision == "fp8" else self.relative_error

    @property
    def share(self) -> float | None:
        """The largest value as a share of float16's largest number."""
        return max(self.largest.values()) / LIMIT if self.largest else None

    @property
    def left_share(self) -> float | None:
        """The largest value that is left in float16 as a share of float16's largest number."""
        return None if self.left is None else self.left / LIMIT


def count_codes(codes: dict[str, str]) -> dict[str, int]:
    """Counts how many matrices got their codes in each way, such as {"kept, Q4_1": 210, "kept, Q8_0": 1}."""
    return dict(sorted(Counter(codes.values()).items()))
