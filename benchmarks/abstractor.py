"""How fast is the abstractor on this processor? (attention.py measures the attention inside it alone.)

    python benchmarks/abstractor.py [--out benchmarks/results/abstractor-cpu.json] [--quick] [--parts ...]

Random weights and features at the real dimensions (six layers, 128 queries, 16 heads of 64, 257 tokens a
frame). Every row runs its candidates in turn, so that what else the machine does hits all alike; figures are
medians, ratios are of medians. A turn is a pause in which the threads of the one before stop spinning, a call
that wakes its own, and the call that is timed. Loading and compiling are not timed.

Limits that the figures are held against are candidates like the others, since the processor's clock changes
with what runs on it and beside it: the rate of a 2048 x 2048 x 2048 float32 product and how fast 256 MiB are
read (PyTorch's sum).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from g4v import __version__, _core
from g4v._console import processor
from g4v._files import write_json
from g4v._runtime import onnxruntime_directories
from g4v.export.bundle.manifest import FORMAT, FORMAT_VERSION
from g4v.export.components.abstractor import export_abstractor
from g4v.export.components.lowerings import BF16X2, INT8
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Lowering
from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig
from g4v.ops import custom_ops_library, versions

TOKENS = 257
HEADS, SIZE, QUERIES, LAYERS = 16, 64, 128, 6
PAUSE = 0.03  # seconds; threads of ONNX Runtime and OpenMP spin for some milliseconds after a call
PARTS = ("abstractor", "streaming")
Row = dict[str, Any]


class Limits:
    """What the machine does at most, measured in turn with what is held against it."""

    def __init__(self) -> None:
        self.a, self.b = torch.randn(2, 2048, 2048).unbind(0)
        self.bytes = torch.randn(1 << 26)
        self.calls: dict[str, Callable[[], float]] = {
            "sgemm GFLOP/s": lambda: 2e-9 * 2048**3 / seconds(lambda: self.a @ self.b),
            "GB/s read": lambda: 1e-9 * self.bytes.nbytes / seconds(self.bytes.sum),
        }
        self.all: dict[str, list[float]] = {name: [] for name in self.calls}

    def interleave(
        self, candidates: dict[str, Callable[[], Any]], rounds: int, names: Sequence[str]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Median seconds of each candidate, and the medians of the limits that `names` tells."""
        times: dict[str, list[float]] = {name: [] for name in candidates}
        found: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name, call in candidates.items():
                times[name].append(seconds(call))
            for name in names:
                found[name].append(self.calls[name]())
        for name in names:
            self.all[name] += found[name]
        medians = [{n: statistics.median(v) for n, v in lists.items()} for lists in (times, found)]
        return medians[0], medians[1]


def seconds(call: Callable[[], Any]) -> float:
    time.sleep(PAUSE)
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def relative_error(actual: Any, expected: torch.Tensor) -> float:
    wanted = expected.double().numpy()
    return float(np.abs(np.asarray(actual, np.float64) - wanted).max() / np.abs(wanted).max())


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.register_custom_ops_library(custom_ops_library())
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def whole(frames: int, rounds: int, threads: int, limits: Limits, folder: Path, compile: bool) -> Row:
    torch.manual_seed(0)
    abstractor = VideoAbstractor(AbstractorConfig()).eval()
    features = torch.randn(frames, TOKENS, abstractor.config.memory_size)
    feed = {"features": features.numpy()}
    lowerings = {"fp32": CPU, "bf16x2": BF16X2, "int8": INT8}
    ours, pieces, rounded = (in_core(abstractor, folder / n, low, threads) for n, low in lowerings.items())
    torch.onnx.export(
        abstractor,
        (features[None],),
        folder / "unrewritten.onnx",
        input_names=["features"],
        opset_version=18,
        dynamo=False,
        external_data=True,
    )
    plain = session(folder / "unrewritten.onnx", threads)
    candidates: dict[str, Callable[[], Any]] = {
        "g4v": lambda: ours(feed["features"]),
        "g4v, bf16x2": lambda: pieces(feed["features"]),
        "g4v, 8-bit weights and activations": lambda: rounded(feed["features"]),
        "torch eager": lambda: abstractor(features[None]),
        "onnxruntime, graph not rewritten": lambda: plain.run(None, {"features": feed["features"][None]}),
    }
    if compile:
        compiled = torch.compile(abstractor)
        candidates["torch.compile"] = lambda: compiled(features[None])
    names = ("sgemm GFLOP/s", "GB/s read")
    times, most = limits.interleave(candidates, rounds, names)
    result, fast, coarse = (run(feed["features"]) for run in (ours, pieces, rounded))
    exact = abstractor.double()(features[None].double())[0]
    flop = operations(frames, abstractor.config)
    products = flop / most[names[0]] / 1e9
    # Every weight once, and the keys and values of all frames once more than their product writes them.
    size = (folder / "fp32").glob("*.data")
    read = sum(file.stat().st_size for file in size) + 4 * frames * TOKENS * 2 * LAYERS * HEADS * SIZE
    reading = read / most[names[1]] / 1e9
    return {
        "frames": frames,
        "milliseconds": {name: round(1e3 * value, 1) for name, value in times.items()},
        "faster than": {n: round(t / times["g4v"], 2) for n, t in times.items() if "g4v" not in n},
        "bf16x2 faster than torch eager": round(times["torch eager"] / times["g4v, bf16x2"], 2),
        "8 bits faster than torch eager": round(
            times["torch eager"] / times["g4v, 8-bit weights and activations"], 2
        ),
        "GFLOP": round(flop / 1e9, 1),
        **{name: round(value, 1) for name, value in most.items()},
        "time over operations at sgemm rate": round(times["g4v"] / products, 2),
        "milliseconds of operations at sgemm rate": round(1e3 * products, 1),
        "milliseconds of reading weights and memory": round(1e3 * reading, 1),
        "relative error against float64": relative_error(result, exact),
        "relative error of bf16x2": relative_error(fast, exact),
        "relative error of 8 bits": relative_error(coarse, exact),
    }


class InCore:
    """The abstractor of a bundle in g4v's core; without keys each frame is a new one."""

    def __init__(self, folder: Path, threads: int, **placement: Any) -> None:
        """placement: `device` and `cuda_graphs` of the core's abstractor."""
        directories = onnxruntime_directories()
        self.core = _core.testing.BundleAbstractor(
            str(folder), 32, threads, library_dirs=directories, **placement
        )
        self.last = 0

    def __call__(self, features: np.ndarray, keys: list[int] | None = None) -> np.ndarray:
        if keys is None:
            keys = self.new_keys(len(features))
        return self.core.run(features, keys)[0]

    def new_keys(self, count: int) -> list[int]:
        self.last += count
        return list(range(self.last - count, self.last))


def in_core(abstractor: VideoAbstractor, folder: Path, lowering: Lowering, threads: int) -> InCore:
    """Writes a bundle of the abstractor alone, and loads it."""
    write_bundle(abstractor, folder, lowering, "cpu")
    return InCore(folder, threads)


def write_bundle(abstractor: VideoAbstractor, folder: Path, lowering: Lowering, target: str) -> None:
    """A manifest with the abstractor alone. The core does not read the precision that it names."""
    folder.mkdir(exist_ok=True)
    files, config = export_abstractor(abstractor, folder, lowering=lowering), abstractor.config
    variant = {"target": target, "precision": "fp32", "graph": files[0], "files": files}
    if lowering.caches_frames:
        variant["memory_graph"] = files[2]
    component = {key: getattr(config, key) for key in ("hidden_size", "output_tokens", "output_size")}
    manifest = {key: "" for key in ("name", "assistant", "description", "created_by")}
    manifest |= {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        # Only the sizes are looked at here.
        "files": {f: {"bytes": (folder / f).stat().st_size, "sha256": "0" * 64} for f in files},
        "components": {"abstractor": component | {"variants": [variant]}},
        "tokenizers": {},
        "generation": {},
        "licences": [],
        "provenance": {},
    }
    (folder / "g4v.json").write_text(json.dumps(manifest), encoding="utf-8")


@torch.no_grad()
def streaming(rounds: int, threads: int, folder: Path) -> Row:
    torch.manual_seed(0)
    abstractor = VideoAbstractor(AbstractorConfig()).eval()
    ours = in_core(abstractor, folder / "streaming", CPU, threads)
    features = torch.randn(9, TOKENS, abstractor.config.memory_size).numpy()
    times: dict[str, list[float]] = {}

    # Frames shown first, frames shown then and timed, and whether the core may know the first ones again.
    cases = {
        "a ninth frame added to eight": (slice(0, 8), slice(0, 9), True),
        "nine frames anew": (slice(0, 9), slice(0, 9), False),
        "a new frame for the oldest of eight": (slice(0, 8), slice(1, 9), True),
    }
    tokens: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name, (before, after, same) in cases.items():
            time.sleep(PAUSE)
            keys = ours.new_keys(9)
            ours(features[before], keys[before])
            keys = keys if same else ours.new_keys(9)
            start = time.perf_counter()
            tokens[name] = ours(features[after], keys[after])
            times.setdefault(name, []).append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ninth, anew = list(cases)[:2]
    memory = 2 * 8 * TOKENS * abstractor.config.hidden_size * 12 * abstractor.config.hidden_size
    nine = operations(9, abstractor.config)
    return {
        "milliseconds": {name: round(1e3 * value, 1) for name, value in medians.items()},
        "faster": round(medians[anew] / medians[ninth], 2),
        "at most": round(nine / (nine - memory), 2),
        "relative difference": relative_error(tokens[ninth], torch.from_numpy(tokens[anew])),
    }


def operations(frames: int, config: AbstractorConfig) -> float:
    """FLOP of the matrix products of the plain abstractor on more than one frame."""
    rows, d = frames * TOKENS, config.hidden_size
    queries = config.num_queries + config.num_temporal_queries if frames > 1 else config.num_queries
    layer = 2 * rows * d * 2 * d  # keys and values of the memory
    layer += 2 * queries * d * (3 * d + d)  # own queries, keys, values; output
    layer += 2 * queries * d * 3 * config.intermediate_size
    layer += 4 * queries * (rows + queries) * d
    return float(config.num_layers * layer + 2 * queries * d * config.output_size)


def machine(threads: int) -> Row:
    return {
        "processor": processor(),
        "threads": threads,
        "kernels": versions(),
        "versions": {
            "g4v": __version__,
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
            "python": platform.python_version(),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--rounds", type=int, default=15, help="timed calls of each candidate (default: 15)")
    parser.add_argument("--threads", type=int, default=_core.usable_cores(), help="default: all cores")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--quick", action="store_true", help="8 frames alone, no torch.compile")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    _core.set_kernel_threads(options.threads)
    limits = Limits()
    report: Row = {"machine": machine(options.threads), **{part: [] for part in options.parts}}
    print(json.dumps(report["machine"]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        abstractors = [8] if options.quick else [1, 4, 8, 16, 32]
        for frames in abstractors if "abstractor" in options.parts else []:
            compile = frames == 8 and not options.quick
            rounds = max(5, options.rounds // 2)
            row = whole(frames, rounds, options.threads, limits, folder, compile)
            report["abstractor"].append(row)
            print("abstractor", json.dumps(row), flush=True)
        if "streaming" in options.parts:
            report["streaming"].append(streaming(max(7, options.rounds // 2), options.threads, folder))
            print("streaming", json.dumps(report["streaming"][0]), flush=True)
    report["limits, medians of all rows"] = {
        name: round(statistics.median(values), 1) for name, values in limits.all.items() if values
    }
    if options.out:
        write_json(options.out, report, indent=1)


if __name__ == "__main__":
    main()
