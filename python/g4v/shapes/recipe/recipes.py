"""What a recipe is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from g4v.shapes.recipe.loop import LoopSettings, Part


@dataclass(frozen=True)
class Recipe:
    """How a part of the embedded default is trained.

    build: makes it from OUT, the folder of the run. finish: writes into OUT what other parts and the exporter
    read.
    """

    build: Callable[[Path], Part]
    finish: Callable[[Path, Part], None]
    settings: LoopSettings


def write_nothing(out: Path, part: Part) -> None:
    """`Recipe.finish` of a part from whose checkpoint another one starts, and that nothing else reads."""
