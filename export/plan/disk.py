"""Whether the disk has room for a bundle."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from g4v.export.errors import ExportError
from g4v.export.plan.export_estimate import ExportEstimate
from g4v.export.report.units import size


def needed_disk(estimates: Sequence[ExportEstimate]) -> int:
    """Returns the bytes that an export of these components has on disk at most: the bundle's, and what is
    removed again.
    """
    return sum(estimate.disk for estimate in estimates) + max(
        (estimate.scratch for estimate in estimates), default=0
    )


def free_disk(place: Path) -> int:
    """Returns the free bytes of the file system on which `place`, which need not exist, would be written."""
    return shutil.disk_usage(nearest_folder(place)).free


def check_disk(estimates: Sequence[ExportEstimate], out: Path) -> None:
    """Raises ExportError if a bundle of these components does not fit on the file system of `out`."""
    needed, free = needed_disk(estimates), free_disk(out)
    if needed > free:
        raise ExportError(
            f"{out}: the export takes {size(needed)}, and {size(free)} are free there: choose another folder "
            "or a smaller --precision"
        )


def nearest_folder(path: Path) -> Path:
    """Returns the path, or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
