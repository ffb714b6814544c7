"""What a dry run prints: the needs of an export, and what is missing for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from g4v._console import duration
from g4v.export.components.precision import Precisions
from g4v.export.engines.tensorrt import ENGINES, load_library
from g4v.export.errors import ExportError
from g4v.export.plan.disk import free_disk, needed_disk
from g4v.export.plan.export_estimate import ExportEstimate
from g4v.export.report.units import size

_START = 10.0  # seconds until the libraries are loaded and the headers are read


def describe_export(estimates: Sequence[ExportEstimate], out: Path) -> tuple[list[str], list[str]]:
    """Describes what an export to `out` needs, in lines for a person.

    Returns these lines (a table of the components, then disk, memory and time), and a line for each resource
    of which the machine has too little.
    """
    disk, peak = needed_disk(estimates), max(estimate.peak for estimate in estimates)
    free, memory = free_disk(out), _free_memory()
    resident = sum(estimate.resident for estimate in estimates)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # More than half of the work is done by one core at a time.
    seconds = sum(estimate.seconds for estimate in estimates) * (0.6 + 0.4 / min(cores, 8))
    lines = [
        *_table(estimates),
        f"disk: {size(disk)} at {out} ({size(free)} free)",
        f"memory of the export: about {size(peak)}" + (f" ({size(memory)} free)" if memory else ""),
        *([f"memory of the assistant on the CPU: about {size(resident)}"] if resident else []),
        f"time: about {duration(_START + seconds)}",
    ]
    missing = []
    if disk > free:
        missing.append(f"{size(disk - free)} of disk at {out}")
    if memory and peak > memory:
        missing.append(f"{size(peak - memory)} of memory")
    return lines, missing


def missing_packages(precisions: Precisions, estimates: Sequence[ExportEstimate]) -> list[str]:
    """Returns a line for each package that the export needs and that is not installed."""
    missing = []
    for target, engine in ENGINES.items():
        if any(target in precisions[estimate.name] for estimate in estimates):
            try:
                load_library(engine)
            except ExportError as error:
                missing.append(str(error))
    return missing


def _table(estimates: Sequence[ExportEstimate]) -> list[str]:
    head = ("component", "precision", "weights", "bundle", "peak memory")
    table = [head] + [
        (e.name, e.precision, f"{e.weights / 1e6:.1f} M", size(e.disk), size(e.peak)) for e in estimates
    ]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]


def _free_memory() -> int | None:
    """Bytes of memory that a new process can have; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return values.get("MemAvailable")
