"""The command line: `g4v` and `python -m g4v`. One file for each subcommand.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 after Ctrl-C. An error is one line on stderr; with G4V_DEBUG
set, an unexpected one has its traceback as well.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from .._command import Parser, run_program
from .._console import report_error
from ..errors import ArgumentError, Error
from . import bench, build, chat, doctor, generate, inspect, serve, verify

_EXAMPLES = """examples:
  g4v chat --video clip.mp4 --prompt "What moves here?"
  g4v chat --prompt "Show me a red circle moving left" --out videos
  g4v chat                                     talk in the terminal
  g4v generate "a green star growing" --out star.mp4 --seed 7
  g4v serve                                    answer the clients of OpenAI's API
  g4v inspect tiny
  g4v doctor

exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code; --help and wrong usage end in SystemExit."""
    return run_program(lambda: _run(build_parser().parse_args(argv)))


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
        return code
    except ArgumentError as error:
        report_error(f"{error} (see: g4v {arguments.command} --help)")
        return 2
    except Error as error:
        report_error(str(error))
        return 1
    except OSError:  # of standard output; every other one has become an Error
        raise
    except Exception as error:
        if os.environ.get("G4V_DEBUG"):
            raise
        report_error(f"unexpected {type(error).__name__}: {error} (set G4V_DEBUG=1 for the traceback)")
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of `g4v` with all its subcommands."""
    from .. import __version__

    parser = Parser(
        prog="g4v",
        description="Talk about a video, get a new video back.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"g4v {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (chat, generate, serve, build, inspect, verify, doctor, bench):
        module.add_parser(commands)
    return parser
