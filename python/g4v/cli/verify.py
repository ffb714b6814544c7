"""`g4v verify`: whether a bundle is whole, and computes what it was exported from."""

from __future__ import annotations

import argparse
from importlib import util
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, Error


def add_parser(commands: Any) -> None:
    """Adds `g4v verify` to the subcommands of the parser."""
    parser = commands.add_parser(
        "verify",
        help="check a bundle's files, and its graphs against what it was exported from",
        description=(
            "Checks every file of a bundle against its SHA-256. With --base, and where PyTorch is "
            "installed (the extra g4v[export]), the comparison of the export is run again: every graph for "
            "the CPU and for CUDA against PyTorch in float64, on the same inputs."
        ),
        epilog="examples:\n  g4v verify tiny\n  g4v verify bundles/mine --base runs/mine",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="an embedded name (tiny) or a bundle directory")
    parser.add_argument(
        "--base",
        "--checkpoint",
        dest="checkpoint",
        metavar="X",
        help="the run or published checkpoint that the bundle was exported from",
    )
    parts = parser.add_argument_group("parts in place of the run's", "as they were named in the export")
    parts.add_argument("--llm", metavar="X", help="language model")
    parts.add_argument(
        "--adapter", metavar="A", action="append", help="PEFT LoRA folder, or FOLDER=WEIGHT; repeatable"
    )
    parts.add_argument("--vision", metavar="X", help="encoder")
    parts.add_argument("--t2v", metavar="X", help="text-to-video pipeline")
    parts.add_argument("--variant", metavar="V", help="of the text-to-video pipeline's weights")
    parts.add_argument(
        "--calibration-video", metavar="FILE", action="append", help="video of the comparison; repeatable"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `g4v verify`; returns its exit code. Raises `g4v.Error`."""
    from .._runtime import find_bundle, import_core

    _check_usage(arguments)
    directory = find_bundle(arguments.bundle)
    import_core().check_bundle(directory, "full")
    print("files: size and SHA-256 of all are right", flush=True)
    if arguments.checkpoint is None:
        print("graphs: not compared; name the run with --base")
        return 0
    _compare(directory, arguments)
    return 0


def _check_usage(arguments: argparse.Namespace) -> None:
    """ArgumentError, Error: what was asked for needs a run, or packages, that are not there."""
    if arguments.checkpoint is not None:
        if util.find_spec("torch") is None or util.find_spec("onnx") is None:
            raise Error('graphs cannot be compared: PyTorch or onnx is missing; pip install "g4v[export]"')
        return
    for name in ("llm", "adapter", "vision", "t2v", "variant", "calibration_video"):
        if getattr(arguments, name) is not None:
            option = "--" + name.replace("_", "-")
            what = "what is compared on" if name == "calibration_video" else "a part in place of the run's"
            raise ArgumentError(f"{option} names {what}; name the run too, with --base")


def _compare(directory: Path, arguments: argparse.Namespace) -> None:
    from g4v.export.bundle.verify import verify_bundle
    from g4v.export.checkpoint.libraries import quiet_libraries
    from g4v.export.checkpoint.overrides import Overrides, parse_adapters

    quiet_libraries()
    adapters = None if arguments.adapter is None else parse_adapters(arguments.adapter)
    # The export has asked whether parts may be mixed.
    overrides = Overrides(
        arguments.llm, adapters, arguments.vision, arguments.t2v, variant=arguments.variant, mix=True
    )
    run = arguments.checkpoint
    videos = arguments.calibration_video or ()
    errors = verify_bundle(run, directory, lambda line: print(line, flush=True), overrides, videos)
    print(f"graphs: {len(errors)} compute what the run does")
