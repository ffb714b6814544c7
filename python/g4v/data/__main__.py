"""`python -m g4v.data`: builds training data and writes data to try the evaluations on."""

from __future__ import annotations

import sys

_USAGE = """usage: python -m g4v.data COMMAND [options]

  dialogues  dialogues from captions
  replies    a language model's own replies to ordinary talk
  shapes     clips and texts of the shapes world in the layouts of the field

python -m g4v.data COMMAND --help tells the options"""


def main(arguments: list[str]) -> int:
    """Runs the named command; returns its exit code."""
    if arguments[:1] == ["dialogues"]:
        from g4v.data.dialogues.command import main as dialogues

        return dialogues(arguments[1:])
    if arguments[:1] == ["replies"]:
        from g4v.data.replies.command import main as replies

        return replies(arguments[1:])
    if arguments[:1] == ["shapes"]:
        from g4v.data.worlds import world

        return world("shapes").data_command(arguments[1:])
    if arguments in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    from g4v.cli.common import report_error

    report_error("name a command: dialogues, replies, shapes (see: python -m g4v.data --help)")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
