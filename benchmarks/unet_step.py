"""Does a denoising step at the real size compute what PyTorch computes?

    python benchmarks/unet_step.py [--run DIR] [--size 576x320] [--frames 8] [--graphs NAME ...] [--json FILE]

The UNet of ZeroScope (1.41 billion random weights, or that of a run, as `export_full_size.py --run DIR`
writes one), one step with guidance: latents of one video and of its unguided twin, 77 positions of text.
PyTorch computes it in float32; the graphs of our exporter are run by ONNX Runtime on the CPU, each in a
process of its own:

    float32          that of the cpu target
    float16, CUDA    that of the cuda target; each operator is computed in float32, and its result rounded
    float16, engine  what engines are built from, likewise
    int8             that of the cpu target with `unet=int8`

Reported, of random latents: the largest difference over the largest value, the norm of the difference over
the norm, seconds of the step and peak resident memory, mapped files among it. Seconds are one run each, of no
speed comparison.
With --json the steps are added to those in FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from export_full_size import add_rows

from g4v._console import machine
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.lowerings import INT8
from g4v.export.components.unet import export_unet
from g4v.export.graph.cpu import CPU
from g4v.export.graph.cuda import CudaLowering
from g4v.export.graph.dtype import FLOAT16
from g4v.export.graph.lowering import Lowering
from g4v.export.graph.standard import StandardLowering
from g4v.export.verify.error_measures import norm_error, relative_error
from g4v.export.verify.half_precision import emulated
from g4v.export.verify.session import open_session

GRAPHS: dict[str, Lowering] = {
    "float32": CPU,
    "float16, CUDA": CudaLowering(FLOAT16),
    "float16, engine": StandardLowering(FLOAT16),
    "int8": INT8,
}
PYTORCH = "PyTorch"
TIMESTEP, TEXT, SCALE = 521, 77, 8  # pixels for one latent


def inputs(unet: Any, width: int, height: int, frames: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(20231125)
    size = (1, unet.config.in_channels, frames, height // SCALE, width // SCALE)
    # Both halves of a guided step start from the same latents.
    sample = torch.randn(size, generator=random).expand(2, *size[1:]).contiguous()
    text = torch.randn(2, TEXT, unet.config.cross_attention_dim, generator=random)
    return {"sample": sample, "timestep": torch.tensor([float(TIMESTEP)]), "encoder_hidden_states": text}


@torch.no_grad()
def compute(name: str, options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One of GRAPHS, or PyTorch, which leaves its result in `work`."""
    unet = Checkpoint.open(options.run).unet()
    given = inputs(unet, *options.size, options.frames)
    expected = work / "expected.npy"
    if name == PYTORCH:
        unet = unet.float()
        start = time.perf_counter()
        np.save(expected, unet(**given).sample.numpy())
        return {
            "seconds": round(time.perf_counter() - start, 1),
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    with tempfile.TemporaryDirectory(dir=work) as folder:
        export_unet(unet, folder, "unet", GRAPHS[name])
        del unet
        with emulated(Path(folder) / "unet.onnx") as path:
            session = open_session(path, as_written="float16" in name)
        feed = {key: value.numpy() for key, value in given.items()}
        start = time.perf_counter()
        (result,) = session.run(None, feed)
        seconds = time.perf_counter() - start
    wanted = torch.from_numpy(np.load(expected))
    return {
        "relative error": relative_error(result, wanted),
        "norm error": norm_error(result, wanted),
        "seconds": round(seconds, 1),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--run", type=Path, help="keep the run here, and use it if it is there")
    parser.add_argument("--size", default="576x320", metavar="WxH", help="in pixels (default: 576x320)")
    parser.add_argument("--frames", type=int, default=8, help="default: 8")
    parser.add_argument("--graphs", nargs="+", choices=GRAPHS, default=list(GRAPHS), help="default: all")
    parser.add_argument("--work", type=Path, help="a folder with room for the run and a graph (11 GB)")
    parser.add_argument("--json", type=Path, help="also write the numbers into this file")
    parser.add_argument("--compute", help=argparse.SUPPRESS)
    options = parser.parse_args()
    words = options.size
    options.size = tuple(int(part) for part in words.split("x"))
    if options.compute:
        print(json.dumps(compute(options.compute, options, options.work)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        run = options.run or work / "run"
        if not (run / "g4v_train.json").exists():
            maker = Path(__file__).with_name("export_full_size.py")
            subprocess.run([sys.executable, maker, "--write", run], check=True)
        rows: list[dict[str, Any]] = []
        for each in (PYTORCH, *options.graphs):
            command = [sys.executable, __file__, "--compute", each, "--run", run, "--work", work]
            command += ["--size", words, "--frames", str(options.frames)]
            done = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ, check=True, text=True)
            about = {"graph": each, "size": words, "frames": options.frames}
            rows.append(about | json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
    found = {"machine": machine(), "steps": rows}
    if options.json:
        add_rows(options.json, found, "steps", ("graph", "size", "frames"))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
