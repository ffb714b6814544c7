"""`python -m g4v.data dialogues`: builds training data; see `python -m g4v.data dialogues --help`."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Runs the named command; returns its exit code."""
    if arguments[:1] == ["dialogues"]:
        from .build.command import main as dialogues

        return dialogues(arguments[1:])
    if arguments in (["-h"], ["--help"]):
        print("usage: python -m g4v.data dialogues [options]\n\n  dialogues  dialogues from captions")
        return 0
    from g4v.cli.common import report_error

    report_error("name a command: dialogues (see: python -m g4v.data --help)")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
