"""`g4v generate`: text to video, without a conversation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .._command import add_assistant_arguments
from .._console import ProgressBar, report_warning, shown_path
from ..errors import ArgumentError
from .common import OutputFolder, add_video_arguments, load, print_json

_EXAMPLES = """examples:
  g4v generate "a red circle moving left on a black background"
  g4v generate "a green star growing and a blue square moving up" --out pair.gif --seed 3 --steps 30"""


def add_parser(commands: Any) -> None:
    """Adds `g4v generate` to the subcommands of the parser."""
    parser = commands.add_parser(
        "generate",
        help="make one video from a caption",
        description="Makes one video from a caption and writes it to a file.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prompt", metavar="PROMPT", help="what the video shows")
    parser.add_argument(
        "--out",
        default="video.mp4",
        metavar="FILE",
        help=".mp4, .webm or .gif; replaced if there (default: video.mp4)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object about the result")
    add_video_arguments(parser)
    add_assistant_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `g4v generate`; returns its exit code. Raises `g4v.Error`."""
    from .._encode import SUFFIXES

    path = Path(arguments.out)
    if path.suffix.lower() not in SUFFIXES:
        raise ArgumentError(f"--out {path}: the name of a video ends in {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise ArgumentError(f"--out {path}: is a folder; name a file")
    with OutputFolder(str(path.parent)):
        assistant = load(arguments)
        bar = ProgressBar("denoising")
        try:
            video = assistant.generate(
                arguments.prompt,
                seed=arguments.seed,
                steps=arguments.steps,
                guidance_scale=arguments.guidance_scale,
                on_progress=bar.update_of,
            )
        finally:
            bar.clear()
        video.save(path)
    for warning in video.warnings:
        report_warning(warning)
    if arguments.json:
        count, height, width, _ = video.frames.shape
        size = {"frames": count, "height": height, "width": width, "fps": video.fps}
        print_json({"path": str(path), "caption": video.caption, "seed": video.seed, **size})
    else:
        print(f"wrote {shown_path(path)}", flush=True)
    return 0
