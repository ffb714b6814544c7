"""`python -m g4v.eval shapes`: measures an assistant; see `python -m g4v.eval shapes --help`."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Runs the named evaluation; returns its exit code."""
    from g4v.cli.common import report_error

    if arguments[:1] == ["shapes"]:
        from .shapes import main as shapes

        return shapes(arguments[1:])
    if arguments in (["-h"], ["--help"]):
        print("usage: python -m g4v.eval shapes [options]\n\n  shapes  the shapes world (see: shapes --help)")
        return 0
    report_error("name an evaluation: shapes (see: python -m g4v.eval --help)")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
