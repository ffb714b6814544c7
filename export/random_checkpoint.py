"""A complete training run with random weights: for tests, for timing, and as an example of the layout.

    python -m g4v.export.random_checkpoint OUT [--preset tiny] [--seed 0] [--flavour clip]

Its assistant speaks gibberish, but every part has the preset's classes and sizes.
"""

from __future__ import annotations

import argparse
import sys

from g4v import _start
from g4v._command import Utf8Parser, run_program
from g4v._console import report_error
from g4v._files import one_line
from g4v.model.presets import PRESETS


def main() -> int:
    """Runs the command line; returns the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = Utf8Parser(
        prog="python -m g4v.export.random_checkpoint", description=__doc__, formatter_class=form
    )
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flavour", choices=["clip", "mplug-owl-video"])
    options = parser.parse_args()
    preset = PRESETS[options.preset]
    try:
        with _start.importing():
            from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
    except ImportError as error:
        report_error(f'{error}; install the extra: pip install "g4v[export]"', "g4v.export")
        return 1
    try:
        print(write_random_checkpoint(options.out, preset, options.seed, flavour=options.flavour))
    except OSError as error:
        reason = "it is a file; name a folder" if isinstance(error, FileExistsError) else one_line(error)
        report_error(f"{options.out}: cannot be written: {reason}", "g4v.export")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
