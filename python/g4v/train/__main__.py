"""`python -m g4v.train`: trains an assistant on its bases; with `tiny`, the embedded default from nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from g4v.errors import ArgumentError, Error

_ORDER = (
    "vae", "contrastive-images", "contrastive-clips", "frame-checker", "latents",
    "t2v-images", "t2v-pairs", "t2v-fours", "t2v", "bindings", "base", "stage1", "stage2",
)  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m g4v.train",
        description=(
            "Trains the assistant of the shapes world. A stopped run goes on from its last checkpoint "
            "when the same command is given again."
        ),
        epilog=(
            "example: python -m g4v.train tiny --out runs/tiny, then "
            "python -m g4v.export --preset tiny --checkpoint runs/tiny --out bundle"
        ),
    )
    parser.add_argument("preset", choices=("tiny",), help="which assistant to train")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; made if it is missing")
    parser.add_argument(
        "--part", action="append", choices=_ORDER,
        help="train this part alone (may be given several times); default: all, in this order",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, help="optimiser steps, in place of the recipe's")
    parser.add_argument("--minutes", type=float, help="stop each part after this time; run again to go on")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--seed", type=int, help="in place of the recipe's")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    return parser


def _is_tiny(arguments: list[str]) -> bool:
    """Whether `tiny` stands there as the thing to train and not as the value of an option."""
    pairs = zip(["", *arguments], arguments, strict=False)
    return any(
        a == "tiny" and (not before.startswith("--") or before == "--no-progress") for before, a in pairs
    )


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if not _is_tiny(arguments):
        from g4v.train.command import main as train_stages

        return train_stages(arguments)
    options = _parser().parse_args(arguments)
    try:
        for name in ("steps", "threads", "minutes"):
            value = getattr(options, name)
            if value is not None and not value > 0:
                raise ArgumentError(f"--{name} must be above 0, not {value}")
        from g4v.shapes.recipe import tiny

        for part in options.part or _ORDER:
            if part == "latents":
                tiny.encode_clips(options.out, options.threads)
                continue
            changes = {name: getattr(options, name) for name in ("steps", "minutes", "threads", "seed")}
            done = tiny.train_part(options.out, part, not options.no_progress, **changes)
            if not done:
                print(f"{part}: stopped by --minutes; give the same command again to go on", file=sys.stderr)
                if not options.part:
                    return 0
    except Error as error:
        print(f"g4v.train: error: {error}", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(
            f"g4v.train: error: {error.filename} is missing: train the parts before this one first",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("g4v.train: stopped; give the same command again to go on", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
