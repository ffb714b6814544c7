"""The command line: `g4v` and `python -m g4v`. One file for each subcommand.

Exit codes: 0 done, 1 failed, 2 wrong usage. An error is one line on stderr; with G4V_DEBUG set, the traceback
of an unexpected one as well.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..errors import ArgumentError, Error
from . import bench, chat, doctor, generate, inspect, verify
from .common import Parser, report_error

_EXAMPLES = """examples:
  g4v chat --video clip.mp4 --prompt "What moves here?"
  g4v chat --prompt "Show me a red circle moving left" --out videos
  g4v chat                                     talk in the terminal
  g4v generate "a green star growing" --out star.mp4 --seed 7
  g4v inspect tiny
  g4v doctor

exit codes: 0 done, 1 failed, 2 wrong usage"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code; --help and wrong usage end in SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a question mark, not a failure.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        try:
            return _run(build_parser().parse_args(argv))
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone, as in `g4v ... | head`.
        _drop_stdout()
        return 1
    except OSError as error:
        _drop_stdout()
        report_error(f"standard output cannot be written: {error.strerror}")
        return 1


def _drop_stdout() -> None:
    """Python flushes once more when it ends, and would complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
        return code
    except KeyboardInterrupt:
        report_error("interrupted")
        return 1
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
    from .. import __version__

    parser = Parser(
        prog="g4v",
        description="Talk about a video, get a new video back.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"g4v {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (chat, generate, inspect, verify, doctor, bench):
        module.add_parser(commands)
    return parser
