"""`python -m g4v.train`: trains an assistant on its bases; with `tiny`, the embedded default from nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from g4v._command import run_program

# Subcommand -> module whose main(arguments) runs it. Each trains all parts of one assistant, its bases too,
# and the two stages by this trainer. It is imported only when it is asked for.
RECIPES = {"tiny": "g4v.shapes.recipe.command"}


def find_recipe(arguments: Sequence[str]) -> str | None:
    """The subcommand among the arguments: a name of RECIPES that is not the value of an option."""
    pairs = zip(["", *arguments], arguments, strict=False)
    return next(
        (a for before, a in pairs if a in RECIPES and (before[:2] != "--" or before == "--no-progress")), None
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    recipe = find_recipe(arguments)
    if recipe is not None:
        code: int = importlib.import_module(RECIPES[recipe]).main(arguments)
        return code
    from g4v.train.command import main as train_stages

    return train_stages(arguments)


if __name__ == "__main__":
    sys.exit(run_program(main, "g4v.train"))
