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
from . import bench, chat, doctor, generate, inspect
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
    """Runs the command line and returns the exit code; argparse itself exits for --help and wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a question mark, not a failure.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output has gone, as in `g4v ... | head`. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        report_error("interrupted")
        return 1
    except ArgumentError as error:
        report_error(f"{error} (see: g4v {arguments.command} --help)")
        return 2
    except Error as error:
        report_error(str(error))
        return 1
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
    for module in (chat, generate, inspect, doctor, bench):
        module.add_parser(commands)
    return parser
