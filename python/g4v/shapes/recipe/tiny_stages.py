"""Stages 1 and 2 of the embedded default: the trainer (g4v.train.run) with its preset `tiny`.

What the stages are trained with, and why, stands in g4v/train/presets/tiny.yaml.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import torch

from g4v.shapes.recipe.description import ASSISTANT, LICENCES, NAME, generation_defaults
from g4v.shapes.recipe.tiny_language import template
from g4v.train.checkpoint import find_checkpoint, load_step
from g4v.train.configuration import load_settings
from g4v.train.datasets import open_rows
from g4v.train.errors import TrainingError
from g4v.train.run import count_steps, run_stage
from g4v.train.settings import STAGES, Settings

__all__ = ["STAGES", "planned_steps", "stage_settings", "steps_done", "train_stage"]


def train_stage(
    out: Path,
    stage: str,
    progress: bool = True,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    threads: int | None = None,
    seed: int | None = None,
) -> bool:
    """Trains a stage on the parts in OUT, from its last checkpoint if it has one; True when it is finished.

    steps, minutes, seed: in place of the preset's. threads: of the CPU, or PyTorch's choice.
    FileNotFoundError: a part that comes before is missing. TrainingError: the stage cannot be trained.
    """
    for part in ("encoder", "llm", *(["abstractor"] if stage == "stage2" else [])):
        if not (out / part).is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(out / part))
    old = out / "work" / stage / "last.ckpt"
    if old.exists():
        raise TrainingError(
            f"{old} was written by an earlier version, which trained {stage} in another way: delete "
            f"{old.parent} to train it anew"
        )
    if threads:
        torch.set_num_threads(threads)
    return run_stage(stage_settings(out, stage, progress, steps, minutes, seed), stage)


def stage_settings(
    out: Path,
    stage: str,
    progress: bool = True,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
) -> Settings:
    """The preset `tiny` for the parts in OUT; arguments as in `train_stage`."""
    given: dict[str, Any] = {
        "out": str(out),
        "base": None,  # what the recipe has trained stands in OUT
        "name": NAME,
        "assistant": ASSISTANT,
        "prompt": template().to_manifest(),
        "generation": generation_defaults(out),
        "licences": LICENCES,
        "devices": "1",
        "resume": True,
        "progress": progress,
    }
    changes = {"max_steps": steps, "minutes": minutes, "seed": seed}
    return load_settings(stage, "tiny", None, given | {n: v for n, v in changes.items() if v is not None})


def steps_done(out: Path, stage: str) -> int:
    """Optimiser steps in the stage's last checkpoint, 0 without one."""
    return load_step(find_checkpoint(out / "work" / stage))


def planned_steps(stage: str) -> int:
    """Optimiser steps of the preset."""
    settings = load_settings(stage, "tiny", None, {})
    return count_steps(settings, len(open_rows(settings, stage, template())), 1)
