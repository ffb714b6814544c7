"""`g4v generate`: text to video, or text and a video to video, without a conversation."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._command import add_assistant_arguments, at_least
from .._console import ProgressBar, report_warning, shown_path
from ..errors import ArgumentError
from .common import OutputFolder, add_video_arguments, load, print_json

_EXAMPLES = """examples:
  g4v generate "a red circle moving left on a black background"
  g4v generate "a green star growing and a blue square moving up" --out pair.gif --seed 3 --steps 30
  g4v generate "a red circle" --negative-prompt "blurred" --scheduler dpmsolver++ --video-size 32x32
  g4v generate "a green star" --video clip.mp4 --strength 0.5
  g4v generate "a (red)1.4 circle moving left" --prompt-weighting --preview now.png"""


def add_parser(commands: Any) -> None:
    """Adds `g4v generate` to the subcommands of the parser."""
    parser = commands.add_parser(
        "generate",
        help="make one video from a caption",
        description="Makes one video from a caption, or from a caption and a video or picture, and writes it "
        "to a file.",
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
    parser.add_argument(
        "--preview",
        metavar="FILE",
        help=".png: a small picture of what the video is becoming, written anew after each step",
    )
    parser.add_argument(
        "--preview-every",
        type=at_least(1, 1 << 20),
        metavar="N",
        help="with --preview: after each N-th step alone (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object about the result")
    add_video_arguments(parser)
    _add_content_arguments(parser)
    add_assistant_arguments(parser)
    parser.set_defaults(run=run)


def _add_content_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the video", "What is not given is the bundle's default.")
    group.add_argument("--negative-prompt", metavar="TEXT", help="what the video is guided away from")
    group.add_argument(
        "--prompt-weighting",
        action="store_true",
        help="PROMPT and the negative prompt have weights: (some words)1.3, word++, word--",
    )
    group.add_argument(
        "--scheduler", metavar="NAME", help="the sampler, one of those that `g4v inspect` tells of the bundle"
    )
    group.add_argument("--frames", type=int, metavar="N", help="frames of the video that is made")
    group.add_argument(
        "--video-size", type=_size, metavar="WxH", help="width and height in pixels, such as 576x320"
    )
    group.add_argument(
        "--fps",
        type=float,
        metavar="X",
        help="frames a second that it is played at, which LTX-Video reads too",
    )
    group.add_argument(
        "--video",
        metavar="FILE",
        help="video or picture to make this one from: its frames are sampled and resized (of bundles with a "
        "VAE encoder)",
    )
    group.add_argument(
        "--strength",
        type=float,
        metavar="X",
        help="with --video: above 0, at most 1; the share of the steps that is done, less keeps more of the "
        "video (default: 0.6)",
    )


def _size(text: str) -> tuple[int, int]:
    """(width, height) of "WxH". argparse.ArgumentTypeError: another form."""
    match = re.fullmatch(r"([0-9]{1,9})[xX]([0-9]{1,9})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not WxH in pixels, such as 576x320")
    return int(match[1]), int(match[2])


def _preview_writer(arguments: argparse.Namespace) -> Callable[[Any, int, int], None] | None:
    """What writes the pictures of --preview; None without it. ArgumentError: it cannot be."""
    if arguments.preview is None:
        if arguments.preview_every is not None:
            raise ArgumentError("--preview-every is of --preview; name its file, or leave it out")
        return None
    path = Path(arguments.preview)
    if path.suffix.lower() != ".png":
        raise ArgumentError(f"--preview {path}: the name of a picture ends in .png")
    if path.is_dir():
        raise ArgumentError(f"--preview {path}: is a folder; name a file")

    from .._encode import write_file
    from .._png import encode_png

    def write(picture: Any, step: int, steps: int) -> None:
        write_file(path, encode_png(picture))

    return write


def run(arguments: argparse.Namespace) -> int:
    """Runs `g4v generate`; returns its exit code. Raises `g4v.Error`."""
    from .._encode import SUFFIXES

    path = Path(arguments.out)
    if path.suffix.lower() not in SUFFIXES:
        raise ArgumentError(f"--out {path}: the name of a video ends in {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise ArgumentError(f"--out {path}: is a folder; name a file")
    preview = _preview_writer(arguments)
    width, height = arguments.video_size or (None, None)
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
                negative_prompt=arguments.negative_prompt,
                scheduler=arguments.scheduler,
                frames=arguments.frames,
                width=width,
                height=height,
                fps=arguments.fps,
                video=arguments.video,
                strength=arguments.strength,
                prompt_weighting=arguments.prompt_weighting,
                on_preview=preview,
                preview_every=None if preview is None else arguments.preview_every,
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
