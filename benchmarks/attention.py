"""How fast is the abstractor's attention on this processor, beside PyTorch's and ONNX Runtime's?

    G4V_CPU=avx2 python benchmarks/attention.py [--out benchmarks/results/attention-avx2.json]

128 queries, 16 heads of 64, 257 tokens a frame, random operands. G4V_CPU chooses the instruction set of g4v's
kernel; PyTorch takes the best that it knows (ATEN_CPU_CAPABILITY=avx2 and MKL_ENABLE_INSTRUCTIONS=AVX2 hold
it back), ONNX Runtime too. The candidates take turns, many short ones, so that what else the machine does
hits all alike. A turn is a pause in which the threads of the one before stop spinning, a call that wakes its
own, and the call that is timed. The peers get keys and values joined in one array, and the joining counts,
since the two segments are what the abstractor has; ONNX Runtime's copy of a layer's columns does not count.

The peak is what multiply-adds reach in the registers of one thread, at the best of all rounds, times the
threads. "By processor time" counts the time that the process had a core: on a machine that others use too it
says more than the clock on the wall. Peers' threads spin, so that they are compared so on one thread alone.
In bfloat16, "reading" is the time that copying a layer's keys and values into one array takes (PyTorch), as
every kernel has to bring them into its caches.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from abstractor import HEADS, LAYERS, PAUSE, QUERIES, SIZE, TOKENS, Row, machine, relative_error, session

from g4v import _core
from g4v._files import write_json
from g4v.export.graph.cpu import CPU
from g4v.ops import _kernels, versions

PEERS = ("torch sdpa", "onnxruntime MultiHeadAttention")
WIDTH = HEADS * SIZE


class Operands:
    """Random inputs laid out as products give them: heads, keys and values of all layers side by side."""

    def __init__(self, batch: int, frames: int, dtype: torch.dtype) -> None:
        self.batch, self.rows = batch, frames * TOKENS
        self.own = torch.randn(batch, QUERIES, 3, HEADS, SIZE, dtype=dtype)
        self.memory = torch.randn(batch, self.rows, LAYERS, 2, HEADS, SIZE, dtype=dtype)
        self.q, self.k_own, self.v_own = (self.own[:, :, i].transpose(1, 2) for i in range(3))
        self.out = torch.empty(batch, QUERIES, HEADS, SIZE, dtype=dtype).transpose(1, 2)
        self.layer = 0
        self.flop = 4.0 * batch * HEADS * QUERIES * (self.rows + QUERIES) * SIZE

    def segments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the next layer, as in the chain of layers: not what the last call cached."""
        self.layer = (self.layer + 1) % LAYERS
        k, v = (self.memory[:, :, self.layer, i].transpose(1, 2) for i in range(2))
        return k, v

    def joined(self) -> tuple[torch.Tensor, torch.Tensor]:
        k, v = self.segments()
        return torch.cat([self.k_own, k], 2), torch.cat([self.v_own, v], 2)

    def ours(self) -> torch.Tensor:
        operands = (self.q, self.k_own, self.v_own, *self.segments())
        _kernels.run(*operands, None, SIZE**-0.5, self.out, version=versions()[0])
        return self.out

    def sdpa(self) -> torch.Tensor:
        return F.scaled_dot_product_attention(self.q, *self.joined())

    def plain(self) -> torch.Tensor:
        k, v = self.joined()
        return torch.softmax(self.q @ k.transpose(-1, -2) * SIZE**-0.5, -1) @ v

    def error(self, call: Callable[[], torch.Tensor]) -> float:
        """The relative error of a call on the first layer, against float64."""
        self.layer = LAYERS - 1
        exact = F.scaled_dot_product_attention(self.q.double(), *(x.double() for x in self.joined()))
        self.layer = LAYERS - 1
        return relative_error(call().float(), exact)


def graph(folder: Path) -> Path:
    """ONNX Runtime's MultiHeadAttention behind the Concat that it needs."""
    with CPU.open(folder, "mha") as ops:
        g = ops.g
        names = ("q", "k_own", "v_own", "k_mem", "v_mem")
        q, k_own, v_own, k_mem, v_mem = (g.input(n, "float32", ["b", n + "_rows", WIDTH]) for n in names)
        keys, values = g.concat(k_own, k_mem, axis=1), g.concat(v_own, v_mem, axis=1)
        g.output("out", ops.attention(q, keys, values, HEADS, WIDTH), "float32", ["b", "q_rows", WIDTH])
        g.save()
    return folder / "mha.onnx"


def runtime(operands: Operands, threads: int, folder: Path) -> Callable[[], torch.Tensor]:
    mha = session(graph(folder), threads)

    def flat(x: torch.Tensor) -> np.ndarray:
        return np.ascontiguousarray(x.reshape(operands.batch, -1, WIDTH).numpy())

    feed = {n: flat(operands.own[:, :, i]) for i, n in enumerate(("q", "k_own", "v_own"))}
    # Contiguous copies of a layer's columns are made outside the clock: its graph would slice them.
    copies = [[flat(operands.memory[:, :, layer, j]) for j in range(2)] for layer in range(LAYERS)]

    def call() -> torch.Tensor:
        operands.layer = (operands.layer + 1) % LAYERS
        k, v = copies[operands.layer]
        out = torch.from_numpy(mha.run(None, feed | {"k_mem": k, "v_mem": v})[0])
        return out.view(operands.batch, QUERIES, HEADS, SIZE).transpose(1, 2)

    return call


def family_and_model() -> str:
    """Family and model of an x86 processor, such as "25 17" for a Zen 4; empty where they are not told."""
    file = Path("/proc/cpuinfo")
    text = file.read_text("utf-8") if file.exists() else ""
    found = [re.search(rf"^{name}\s*: (\d+)$", text, re.M) for name in ("cpu family", "model")]
    return " ".join(match[1] for match in found if match)


Times = dict[str, list[tuple[float, float]]]  # seconds on the wall and of the processor, for each round


def settle() -> None:
    """Waits until the threads of the call before no longer spin: on a busy machine that takes them longer."""
    for _ in range(50):
        before = time.process_time()
        time.sleep(PAUSE)
        if time.process_time() - before < PAUSE / 30:
            return


def interleave(candidates: dict[str, Callable[[], Any]], rounds: int, bfloat16: bool) -> tuple[Times, float]:
    """The times of each candidate, and the highest multiply-add rate of one thread, FLOP/s."""
    times: Times = {name: [] for name in candidates}
    peak = 0.0
    for _ in range(rounds):
        for name, call in candidates.items():
            settle()
            call()
            wall, processor = time.perf_counter(), time.process_time()
            call()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
        peak = max(peak, _core.testing.multiply_add_peak(1, bfloat16))
    return times, peak


def figures(operands: Operands, times: Times, peak: float, threads: int) -> Row:
    """Medians, least times, ratios of medians, and the shares of the peak."""
    wall = {name: statistics.median(t[0] for t in rounds) for name, rounds in times.items()}
    processor = {name: statistics.median(t[1] for t in rounds) for name, rounds in times.items()}
    row: Row = {
        "milliseconds": {name: round(1e3 * value, 3) for name, value in wall.items()},
        "least milliseconds": {n: round(1e3 * min(t[0] for t in rounds), 3) for n, rounds in times.items()},
        "faster than": {n: round(wall[n] / wall["g4v"], 2) for n in PEERS if n in wall},
    }
    if threads == 1:
        ratios = {n: round(processor[n] / processor["g4v"], 2) for n in PEERS if n in wall}
        row["faster than, by processor time"] = ratios
    return row | {
        "multiply-add GFLOP/s of a thread": round(1e-9 * peak, 1),
        "share of multiply-add peak": round(operands.flop / wall["g4v"] / peak / threads, 2),
        "share of multiply-add peak, by processor time": round(operands.flop / processor["g4v"] / peak, 2),
    }


@torch.no_grad()
def float32(batch: int, frames: int, rounds: int, threads: int, folder: Path) -> Row:
    operands = Operands(batch, frames, torch.float32)
    candidates: dict[str, Callable[[], Any]] = {
        PEERS[0]: operands.sdpa,
        PEERS[1]: runtime(operands, threads, folder),
        "g4v": operands.ours,
    }
    times, peak = interleave(candidates, rounds, bfloat16=False)
    errors = {name: operands.error(call) for name, call in candidates.items()}
    row: Row = {
        "threads": threads,
        "batch": batch,
        "frames": frames,
        **figures(operands, times, peak, threads),
    }
    return row | {"relative error against float64": errors}


@torch.no_grad()
def bfloat16(batch: int, frames: int, rounds: int, threads: int) -> Row:
    """ONNX Runtime has no attention on bfloat16 operands."""
    operands = Operands(batch, frames, torch.bfloat16)
    copy = torch.empty(2, batch, operands.rows, HEADS, SIZE, dtype=torch.bfloat16)
    candidates: dict[str, Callable[[], Any]] = {PEERS[0]: operands.sdpa, "g4v": operands.ours}
    reading: Callable[[], Any] = lambda: [  # noqa: E731
        to.copy_(x.transpose(1, 2)) for to, x in zip(copy, operands.segments(), strict=True)
    ]
    times, peak = interleave(candidates | {"reading": reading}, rounds, bfloat16=True)
    candidates["softmax(q k) v, step by step"] = operands.plain
    errors = {name: operands.error(call) for name, call in candidates.items()}
    row: Row = {
        "threads": threads,
        "batch": batch,
        "frames": frames,
        **figures(operands, times, peak, threads),
    }
    return row | {"relative error against float64": errors}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--rounds", type=int, default=15, help="timed calls of each candidate (default: 15)")
    cores = sorted({1, _core.usable_cores()})
    parser.add_argument("--threads", type=int, nargs="+", default=cores, help="default: 1, and all cores")
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 4, 8, 16, 32], help="default: 1 to 32")
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 16], help="besides 1, of 8 frames each")
    parser.add_argument("--quick", action="store_true", help="8 frames and batch 1 alone")
    options = parser.parse_args()
    about = machine(max(options.threads)) | {"kernel": versions()[0]}
    about |= {"family and model": family_and_model(), "load average": os.getloadavg()}
    about["torch capability"] = torch.backends.cpu.get_cpu_capability()
    report: Row = {"machine": about, "float32": [], "bfloat16": []}
    print(json.dumps(about))
    shapes = [(1, 8)] if options.quick else [(1, f) for f in options.frames] + [(b, 8) for b in options.batch]
    with tempfile.TemporaryDirectory() as name:
        for threads, (batch, frames) in itertools.product(options.threads, shapes):
            torch.set_num_threads(threads)
            _core.set_kernel_threads(threads)
            report["float32"].append(float32(batch, frames, options.rounds, threads, Path(name)))
            print("float32", json.dumps(report["float32"][-1]), flush=True)
            report["bfloat16"].append(bfloat16(batch, frames, options.rounds, threads))
            print("bfloat16", json.dumps(report["bfloat16"][-1]), flush=True)
    print(json.dumps(report))
    if options.out:
        write_json(options.out, report, indent=1)


if __name__ == "__main__":
    main()
