"""`python -m g4v.train tiny`: trains the embedded default from nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from g4v._command import Utf8Parser
from g4v._console import report_error
from g4v.errors import ArgumentError, Error
from g4v.shapes.recipe.parts import LATER, PARTS

_PROGRAM = "g4v.train"


class _Parser(Utf8Parser):
    program = _PROGRAM


def build_parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    parser = _Parser(
        prog="python -m g4v.train",
        description=(
            "Trains the assistant of the shapes world. A stopped run goes on from its last checkpoint "
            "when the same command is given again."
        ),
        epilog=(
            "example: python -m g4v.train tiny --out runs/tiny, then "
            "python -m g4v.export --preset tiny --base runs/tiny --out bundle"
        ),
    )
    parser.add_argument("preset", choices=("tiny",), help="which assistant to train")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; made if it is missing")
    parser.add_argument(
        "--part", action="append", choices=(*PARTS, *LATER),
        help="train this part alone (may be given several times); default: all, in this order, but for "
        f"{', '.join(LATER)}, which goes on with a finished assistant",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, help="optimiser steps, in place of the recipe's")
    parser.add_argument("--minutes", type=float, help="stop each part after this time; run again to go on")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--seed", type=int, help="in place of the recipe's")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code.

    0 done or stopped by --minutes, 1 failed (one line says why), 130 after Ctrl-C.
    """
    options = build_parser().parse_args(arguments)
    try:
        from g4v.shapes.recipe import tiny
    except ImportError as error:
        report_error(f'{error}; install the extra: pip install "g4v[train]"', _PROGRAM)
        return 1
    try:
        for name in ("steps", "threads", "minutes"):
            value = getattr(options, name)
            if value is not None and not value > 0:
                raise ArgumentError(f"--{name} must be above 0, not {value}")
        if options.out.exists() and not options.out.is_dir():
            raise ArgumentError(f"--out {options.out}: is a file; name a folder")
        changes = {name: getattr(options, name) for name in ("steps", "minutes", "threads", "seed")}
        for part in options.part or PARTS:
            done = tiny.train_part(options.out, part, not options.no_progress, **changes)
            if not done:
                print(f"{part}: stopped by --minutes; give the same command again to go on", file=sys.stderr)
                if not options.part:
                    return 0
    except Error as error:
        report_error(str(error), _PROGRAM)
        return 1
    except FileNotFoundError as error:
        report_error(f"{error.filename} is missing: train the parts before this one first", _PROGRAM)
        return 1
    except KeyboardInterrupt:
        report_error("interrupted; give the same command again to go on", _PROGRAM)
        return 130
    return 0
