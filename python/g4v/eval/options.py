"""The arguments that the commands of this folder share."""

from __future__ import annotations

import argparse
from pathlib import Path

from g4v._command import Parser, add_assistant_arguments, at_least, writable_file


def new_parser(command: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser of `python -m g4v.eval COMMAND`."""
    return Parser(
        prog=f"python -m g4v.eval {command}",
        description=description,
        epilog=epilog + "\nexit codes: 0 done, 1 failed or incomplete, 2 wrong usage, 130 interrupted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_data_arguments(parser: argparse.ArgumentParser, videos: str = "folder of the clips") -> None:
    """What is measured on, and where the results go."""
    add = parser.add_argument
    add("--videos", type=Path, metavar="DIR", help=f"{videos} (default: the folder of the file)")
    add("--limit", type=at_least(1), metavar="N", help="use the first N (default: all)")
    add(
        "--on-error", choices=("skip", "stop"), default="skip",
        help="bad rows, missing and broken clips: leave out and count them (default), or stop at the first",
    )  # fmt: skip
    add(
        "--out", type=Path, metavar="DIR",
        help="keep every result in this folder: stopped or killed, the same command goes on where it was",
    )  # fmt: skip
    add(
        "--json",
        type=writable_file,
        metavar="FILE",
        help="write the figures, what was left out, and every result",
    )
    add(
        "--seed",
        type=at_least(0),
        default=0,
        metavar="N",
        help="of the assistant and the intervals (default: 0)",
    )
    add_assistant_arguments(parser)
