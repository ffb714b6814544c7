"""`g4v verify`: whether a bundle is whole, and computes what it was exported from."""

from __future__ import annotations

import argparse
from importlib import util
from pathlib import Path
from typing import Any

from ..errors import Error


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "verify",
        help="check a bundle's files, and its graphs against the checkpoint",
        description=(
            "Checks every file of a bundle against its SHA-256. With --checkpoint, and where PyTorch is "
            "installed (the extra g4v[export]), the comparison of the export is run again: every graph for "
            "the CPU against PyTorch in float64."
        ),
        epilog="examples:\n  g4v verify tiny\n  g4v verify bundles/mine --checkpoint runs/mine",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="an embedded name (tiny) or a bundle directory")
    parser.add_argument("--checkpoint", metavar="RUN", help="the run that the bundle was exported from")
    parser.add_argument("--llm", metavar="X", help="language model in place of the run's, as in the export")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .._engine import find_bundle, import_core

    directory = find_bundle(arguments.bundle)
    import_core().check_bundle(str(directory), "full")
    print("files: size and SHA-256 of all are right", flush=True)
    if arguments.checkpoint is None:
        print("graphs: not compared; name the run with --checkpoint")
        return 0
    if util.find_spec("torch") is None or util.find_spec("onnx") is None:
        raise Error('graphs cannot be compared: PyTorch or onnx is missing; pip install "g4v[export]"')
    _compare(directory, Path(arguments.checkpoint), arguments.llm)
    return 0


def _compare(directory: Path, run: Path, llm: str | None) -> None:
    from g4v.export.bundle import verify_bundle
    from g4v.export.sources import Sources

    errors = verify_bundle(run, directory, lambda line: print(line, flush=True), Sources(llm=llm))
    print(f"graphs: {len(errors)} compute what the run does")
