"""`g4v bench`: how fast this assistant is on this machine.

Timed: loading (the first load of the process apart, since it also loads ONNX Runtime), the first token after
a question about an 8-frame video that is in memory already, the tokens after it, and one generated video, as
far as the bundle has the components (without an encoder the question comes without a video). Not timed:
reading video files and writing them. Each number is the median of the runs, with the smallest and largest;
one unmeasured run goes first. The instruction set of g4v's own CPU kernels is named too. The last line of the
output is JSON. `g4v bench serve` measures a server.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from .._command import add_assistant_arguments
from .._console import ProgressBar
from .._runtime import import_core
from ..errors import ArgumentError
from . import bench_serve
from .common import load, print_json

_QUESTION = "Describe what happens in this video."
_CAPTION = "a red circle moving left on a black background"


def add_parser(commands: Any) -> None:
    """Adds `g4v bench` to the subcommands of the parser."""
    parser = commands.add_parser(
        "bench",
        help="measure loading, first token, tokens per second and one video, or a server",
        description=__doc__,
        epilog="examples:\n  g4v bench\n  g4v bench --runs 20 --threads 2 --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="measured runs of each (default: 5)")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the bundle's)")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    add_assistant_arguments(parser)
    parser.set_defaults(run=run)
    ways = parser.add_subparsers(dest="way", metavar="serve", title="a server under load")
    bench_serve.add_parser(ways)
    ways.choices["serve"].set_defaults(run=lambda arguments: _serve(parser, arguments))


def _serve(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Runs `g4v bench serve`. ArgumentError: an option of `g4v bench` that means nothing there."""
    for name in ("runs", "bundle", "device", "threads"):
        if getattr(arguments, name) != parser.get_default(name):
            raise ArgumentError(f"--{name} is of g4v bench without serve; the server has its own")
    return bench_serve.run(arguments)


def run(arguments: argparse.Namespace) -> int:
    """Runs `g4v bench`; returns its exit code. Raises `g4v.Error`."""
    import numpy as np

    if arguments.runs < 1:
        raise ArgumentError(f"--runs is {arguments.runs}; it must be at least 1")
    measured: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        measured.setdefault(name, []).append(value)

    started = time.perf_counter()
    assistant = load(arguments)
    note("first_load_ms", 1e3 * (time.perf_counter() - started))

    components = assistant.info["components"]
    made = None
    bar = ProgressBar("measuring", arguments.runs + 1)
    rng = np.random.default_rng(0)
    try:
        for k in range(arguments.runs + 1):
            bar.update(k)
            measure = note if k else lambda name, value: None
            started = time.perf_counter()
            assistant = load(arguments)
            measure("load_ms", 1e3 * (time.perf_counter() - started))
            if "decoder" in components:
                # Other pixels each time, so that no cache of encoded videos answers.
                pixels = rng.integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
                reply = assistant.chat().ask(_QUESTION, video=pixels if "encoder" in components else None)
                measure("first_token_ms", reply.timings.first_token_ms)
                if reply.new_tokens > 1 and reply.timings.decode_ms > 0:
                    measure("tokens_per_second", 1e3 * (reply.new_tokens - 1) / reply.timings.decode_ms)
            if "unet" in components or "transformer" in components:
                started = time.perf_counter()
                made = assistant.generate(_CAPTION, seed=k, steps=arguments.steps)
                measure("video_ms", 1e3 * (time.perf_counter() - started))
    finally:
        bar.clear()

    summary: dict[str, Any] = {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for name, values in measured.items()
    }
    kernels = import_core().kernel_versions()[0]
    if not arguments.json:
        print(f"{'kernels':18} {kernels:>9}")
        for name, row in summary.items():
            print(f"{name:18} {row['median']:9.1f}   ({row['min']:.1f} to {row['max']:.1f})")
    print_json(
        {
            "bundle": assistant.name,
            "device": assistant.device,
            "threads": arguments.threads,
            "kernels": kernels,
            "runs": arguments.runs,
            "video_shape": None if made is None else list(made.frames.shape),
            **summary,
        }
    )
    return 0
