"""What an export found and what it cost: report.json and report.html in the bundle.

They are no part of the bundle's identity: g4v.json does not list them, since times differ from run to run.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from g4v.export.report.page import page
from g4v.export.verify.activation_ranges import LIMIT

JSON, HTML = "report.json", "report.html"
_PACKAGES = ("g4v", "torch", "transformers", "diffusers", "onnx", "onnxruntime")
_BUILDERS = ("tensorrt-rtx-cu13", "tensorrt")


@dataclass(frozen=True)
class PartReport:
    """One component. weights: their number. relative_error: largest difference from PyTorch in float64 over
    the largest value, on the weights as written. rounding_error: norm of what rounding the weights changed
    over the norm of the result, None where they are not rounded. peak_bytes: resident memory of the process
    at most, None where the system does not say. fitted_to: the calibration data of rounded weights. codes:
    of every rounded matrix whether its codes are those of the file (kept), fitted, or the nearest ones.
    relative_error is found on seeded random inputs, real_error on real ones, which `samples` describes;
    largest, kept, left: as in g4v.export.passes.keep_in_float32.Measured. All of these are None where there are no samples.
    steps: name, seconds and peak_bytes of each. engine: options that an engine was built with.
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

    @property
    def label(self) -> str:
        return self.name if self.target == "cpu" else f"{self.name} ({self.target})"

    @property
    def random_error(self) -> float | None:
        """relative_error where it is that of random inputs: graphs in fp8 are compared on real ones alone."""
        return None if self.precision == "fp8" else self.relative_error

    @property
    def share(self) -> float | None:
        """The largest value over float16's limit."""
        return max(self.largest.values()) / LIMIT if self.largest else None

    @property
    def left_share(self) -> float | None:
        """The same of what was left in float16."""
        return None if self.left is None else self.left / LIMIT


def count_codes(codes: dict[str, str]) -> dict[str, int]:
    """How many matrices have their codes from where: such as {"kept, Q4_1": 210, "kept, Q8_0": 1}."""
    return dict(sorted(Counter(codes.values()).items()))


def write_report(folder: Path, name: str, parts: list[PartReport]) -> None:
    """Writes both files into `folder`."""
    values = {
        "name": name,
        "machine": {"system": platform.platform(), "processor": platform.machine()},
        "packages": package_versions(),
        "components": [asdict(part) for part in parts],
    }
    (folder / JSON).write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    (folder / HTML).write_text(page(values, parts), "utf-8")


def read_parts(folder: Path) -> list[PartReport]:
    """What the report in `folder` says of its components; nothing if it is missing or damaged."""
    try:
        return [PartReport(**part) for part in json.loads((folder / JSON).read_text("utf-8"))["components"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def package_versions() -> dict[str, str]:
    """Of the packages that what is written depends on, as far as they are installed."""
    found = {}
    for package in (*_PACKAGES, *_BUILDERS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # g4v itself, run from a source tree
            continue
    return found


def size(count: float | None) -> str:
    """Bytes for a person: "4.2 GB"."""
    if count is None:
        return "?"
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def seconds(count: float) -> str:
    """Time for a person: "0.4 s"."""
    return f"{count:.1f} s" if count < 100 else f"{count:.0f} s"
