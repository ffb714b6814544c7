"""What do CUDA graphs gain in the abstractor as g4v's core runs it? Part of benchmarks/gpu.sh.

    python benchmarks/abstractor_cuda_graphs.py --out benchmarks/results/abstractor-cuda-graphs.json

Random weights and features at the real dimensions, in float16, through ONNX Runtime's CUDA provider; needs
onnxruntime-gpu and a GPU. Three ways run in turn: as the core runs it by default, with data that stay on the
device and no graphs, and with graphs. Every call is of new frames and includes sending their features and
fetching the tokens. Figures are medians on the clock of the host.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from abstractor import TOKENS, InCore, machine, relative_error, write_bundle

from g4v._runtime import preload_cuda
from g4v.errors import Error
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.dtype import FLOAT16
from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig

WAYS = {"default": None, "on the device": 0, "CUDA graphs": 32}  # graphs at most
Row = dict[str, Any]


@torch.no_grad()
def measure(frames: int, rounds: int, config: AbstractorConfig, folder: Path) -> Row:
    torch.manual_seed(0)
    abstractor = VideoAbstractor(config).eval()
    write_bundle(abstractor, folder, CudaLowering(FLOAT16), "cuda")
    ways = {name: InCore(folder, 1, device="cuda", cuda_graphs=most) for name, most in WAYS.items()}
    features = torch.randn(frames, TOKENS, config.memory_size)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 3):  # the first calls launch and capture
        for name, run in ways.items():
            start = time.perf_counter()
            run(features.numpy())
            if turn >= 3:
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    exact = abstractor.double()(features[None].double())[0]
    return {
        "frames": frames,
        "milliseconds": {name: round(1e3 * value, 3) for name, value in medians.items()},
        "captured": ways["CUDA graphs"].core.cuda_graphs,
        "faster than default": round(medians["default"] / medians["CUDA graphs"], 2),
        "faster than without graphs": round(medians["on the device"] / medians["CUDA graphs"], 2),
        "relative error against float64": {
            name: relative_error(run(features.numpy()), exact) for name, run in ways.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    preload_cuda()
    rows = []
    try:
        for frames in (1, 8, 32):
            with tempfile.TemporaryDirectory() as work:
                rows.append(measure(frames, options.rounds, AbstractorConfig(), Path(work)))
            print(json.dumps(rows[-1]), flush=True)
    except Error as error:
        sys.exit(f"abstractor_cuda_graphs.py: {error}")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "unknown"
    report = {"machine": machine(1) | {"gpu": gpu}, "abstractor in the core, float16": rows}
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
