"""Draws the figures that a run has logged."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from g4v._files import atomic
from g4v.train.errors import TrainingError


def draw_curves(folder: Path, name: str) -> Path:
    """Plots every figure of a run over the optimiser steps; returns the picture, `folder`/curves.png.

    folder: of a run whose CSVLogger wrote csv/from-STEP/metrics.csv, one folder for each time it was started
    or resumed; where two have the same step the later one counts. name: what was trained, for the titles.
    TrainingError: the picture cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    series = sorted(_read_series(folder).items())
    figure, axes = plt.subplots(1, max(1, len(series)), figsize=(4 * max(1, len(series)), 3), squeeze=False)
    for axis, (key, points) in zip(axes[0], series, strict=False):
        steps = np.array(sorted(points))
        values = np.array([points[int(step)] for step in steps])
        axis.plot(steps, values, alpha=0.3)
        width = max(1, len(values) // 40)  # of the moving average
        axis.plot(steps[width - 1 :], np.convolve(values, np.ones(width) / width, "valid"))
        axis.set_title(f"{name}: {key}")
        axis.set_xlabel("step")
        if key == "loss" and (values > 0).all():
            axis.set_yscale("log")
    figure.tight_layout()
    target = folder / "curves.png"
    try:
        with atomic(target, TrainingError) as temporary:
            figure.savefig(temporary, dpi=110, format="png")
    finally:
        plt.close(figure)
    return target


def _read_series(folder: Path) -> dict[str, dict[int, float]]:
    """Name of a figure -> optimiser step -> value."""
    series: dict[str, dict[int, float]] = {}
    starts = (folder / "csv").glob("*/metrics.csv")
    for path in sorted(starts, key=lambda p: int(p.parent.name.split("-")[-1])):
        with path.open() as rows:
            for row in csv.DictReader(rows):
                for key, value in row.items():
                    if key not in ("epoch", "step") and value:
                        series.setdefault(key, {})[int(row["step"])] = float(value)
    return series
