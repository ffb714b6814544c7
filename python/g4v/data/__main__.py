"""`python -m g4v.data`: builds training data and writes data sets to try the evaluations on."""

from __future__ import annotations

import sys
from importlib import import_module

from g4v import _start
from g4v._command import run_program
from g4v._console import report_error
from g4v.data.worlds import WORLDS, world

# Name -> module with `main(arguments) -> exit code`, and what it writes.
_COMMANDS = {
    "dialogues": ("g4v.data.dialogues.command", "dialogues from captions"),
    "replies": ("g4v.data.replies.command", "a language model's own replies to ordinary prompts"),
}
_TEXTS = {name: text for name, (_, text) in _COMMANDS.items()} | {
    name: f"clips and texts of the {name} world in the layouts of the field" for name in WORLDS
}
_USAGE = "\n".join(
    [
        "usage: python -m g4v.data COMMAND [options]",
        "",
        *(f"  {name:10s} {text}" for name, text in _TEXTS.items()),
        "",
        "COMMAND --help shows the options",
    ]
)


def main(arguments: list[str]) -> int:
    """Runs the named command; returns its exit code."""
    if arguments and arguments[0] in WORLDS:
        return world(arguments[0]).data_command(arguments[1:])
    if arguments and arguments[0] in _COMMANDS:
        with _start.importing():
            module = import_module(_COMMANDS[arguments[0]][0])
        return int(module.main(arguments[1:]))
    if arguments in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    report_error(f"name a command: {', '.join(_TEXTS)} (see: python -m g4v.data --help)")
    return 2


if __name__ == "__main__":
    sys.exit(run_program(lambda: main(sys.argv[1:])))
