"""`python -m g4v.eval`: measures an assistant; see `python -m g4v.eval COMMAND --help`."""

from __future__ import annotations

import sys
from importlib import import_module

from g4v import _start
from g4v._command import run_program
from g4v._console import report_error
from g4v.data.worlds import WORLDS, world

# Name -> module with `main(arguments) -> exit code`, and what it measures.
_COMMANDS = {
    "videoqa": ("g4v.eval.videoqa", "questions about videos: MSVD-QA, MSRVTT-QA, ActivityNet-QA"),
    "caption": ("g4v.eval.caption", "captions of videos: BLEU-4, METEOR, CIDEr"),
    "t2v": ("g4v.eval.t2v", "videos from captions: CLIPSIM, FID, FVD"),
    "safety": ("g4v.eval.safety", "what is refused: text in, video in, caption out"),
}
_TEXTS = {name: f"the {name} world" for name in WORLDS} | {
    name: text for name, (_, text) in _COMMANDS.items()
}
_USAGE = "\n".join(
    [
        "usage: python -m g4v.eval COMMAND [options]",
        "",
        *(f"  {name:8s} {text}" for name, text in _TEXTS.items()),
        "",
        "COMMAND --help shows the options",
    ]
)


def main(arguments: list[str]) -> int:
    """Runs the named evaluation; returns its exit code."""
    if arguments and arguments[0] in WORLDS:
        return world(arguments[0]).eval_command(arguments[1:])
    if arguments and arguments[0] in _COMMANDS:
        with _start.importing():
            module = import_module(_COMMANDS[arguments[0]][0])
        return int(module.main(arguments[1:]))
    if arguments in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    report_error(f"name an evaluation: {', '.join(_TEXTS)} (see: python -m g4v.eval --help)")
    return 2


if __name__ == "__main__":
    sys.exit(run_program(lambda: main(sys.argv[1:])))
