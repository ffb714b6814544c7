"""How fast is the abstractor, and the attention inside it, on an NVIDIA GPU? Part of benchmarks/gpu.sh.

    python benchmarks/abstractor_gpu.py --out benchmarks/results/abstractor-gpu.json

Random weights and features at the real dimensions. Every row runs its candidates in turn; figures are medians
of the time on the device: CUDA events around a CUDA graph of each, g4v's and its peers' alike, but for eager
PyTorch, which has no graph: that is what it is measured for. Each call of an attention reads another layer's
keys and values, as in the abstractor. PyTorch's back ends get keys and values joined, and the joining counts.
"g4v" is the kernel that the library chooses; "g4v wgmma" is the one that it does not choose yet, where there
is one for the GPU and the type: csrc/kernels/cuda/plan.h says what to do once it wins.

--device cpu runs the same code on the CPU, to try the file, not to measure.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from forced_kernel import WGMMA, ForcedKernel
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from g4v import __version__, _core
from g4v._files import write_json
from g4v.export.components.abstractor import folded_memory_product
from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig
from g4v.ops import cross_attention

TOKENS = 257
HEADS, SIZE, QUERIES, LAYERS = 16, 64, 128, 6
# What an H200 reaches: bytes a second from memory, operations a second of dense bfloat16.
LIMITS = {"H200": (4.8e12, 989e12), "H100": (3.35e12, 989e12), "A100": (2.0e12, 312e12)}
WGMMA_NAME = "g4v wgmma"
Row = dict[str, Any]


class Timer:
    """Runs calls on the device, each captured in a graph where that works."""

    def __init__(self, device: str) -> None:
        self.device = device

    def prepare(self, call: Callable[[], Any], graph: bool) -> Callable[[], Any]:
        if self.device == "cpu":
            call()
            return call
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                call()
        torch.cuda.synchronize()
        if not graph:
            return call
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured, stream=stream):
            call()
        return captured.replay

    def seconds(self, call: Callable[[], Any]) -> float:
        if self.device == "cpu":
            start = time.perf_counter()
            call()
            return time.perf_counter() - start
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def interleave(self, candidates: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for number in range(rounds + 3):
            for name, call in candidates.items():
                took = self.seconds(call)
                if number >= 3:
                    times[name].append(took)
        return {name: statistics.median(values) for name, values in times.items()}


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual.double() - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def attention(timer: Timer, batch: int, frames: int, dtype: torch.dtype, rounds: int) -> Row:
    rows, device = frames * TOKENS, timer.device
    own = torch.randn(batch, QUERIES, 3, HEADS, SIZE, device=device).to(dtype)
    memory = torch.randn(batch, rows, LAYERS, 2, HEADS, SIZE, device=device).to(dtype)
    q, k_own, v_own = (own[:, :, i].transpose(1, 2) for i in range(3))
    out = torch.empty(batch, QUERIES, HEADS, SIZE, device=device, dtype=dtype).transpose(1, 2)
    layers = [[memory[:, :, i, j].transpose(1, 2) for j in range(2)] for i in range(LAYERS)]

    def ours() -> None:
        for keys, values in layers:
            cross_attention(q, k_own, v_own, keys, values, out=out)

    def torch_sdpa() -> None:
        for keys, values in layers:
            joined = torch.cat([k_own, keys], 2), torch.cat([v_own, values], 2)
            F.scaled_dot_product_attention(q, *joined)

    def with_backend(backend: SDPBackend) -> Callable[[], None]:
        def call() -> None:
            with sdpa_kernel(backend):
                torch_sdpa()

        return call

    candidates = {"g4v": timer.prepare(ours, graph=True)}
    refused = {}
    wgmma_out = torch.empty_strided(out.shape, out.stride(), device=device, dtype=dtype)
    try:
        calls = [ForcedKernel(WGMMA, q, k_own, v_own, *layer, wgmma_out) for layer in layers]
        candidates[WGMMA_NAME] = timer.prepare(lambda: [call.start() for call in calls], graph=True)
    except RuntimeError as error:
        refused[WGMMA_NAME] = str(error).splitlines()[0]
    backends = {
        "torch flash": SDPBackend.FLASH_ATTENTION,
        "torch memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
        "torch cuDNN": SDPBackend.CUDNN_ATTENTION,
        "torch math": SDPBackend.MATH,
    }
    for name, backend in backends.items():
        try:
            candidates[name] = timer.prepare(with_backend(backend), graph=True)
        except RuntimeError as error:
            refused[name] = str(error).splitlines()[0]
    times = {name: value / LAYERS for name, value in timer.interleave(candidates, rounds).items()}
    ours()
    keys, values = (x.double() for x in layers[-1])
    wide = [x.double() for x in (q, k_own, v_own)]
    exact = F.scaled_dot_product_attention(
        wide[0], torch.cat([wide[1], keys], 2), torch.cat([wide[2], values], 2)
    )
    plain = torch.softmax(q @ torch.cat([k_own, layers[-1][0]], 2).transpose(-1, -2) * SIZE**-0.5, -1)
    plain = plain @ torch.cat([v_own, layers[-1][1]], 2)
    peers = {name: value for name, value in times.items() if "g4v" not in name}
    wgmma = {}
    if WGMMA_NAME in times:
        candidates[WGMMA_NAME]()
        wgmma = {
            "wgmma faster than g4v's choice": round(times["g4v"] / times[WGMMA_NAME], 3),
            "relative error of wgmma": relative_error(wgmma_out, exact),
        }
    flop = 4.0 * batch * HEADS * QUERIES * (rows + QUERIES) * SIZE
    size = 2.0 * batch * HEADS * SIZE * (rows + 2 * QUERIES) * q.element_size()
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "batch": batch,
        "frames": frames,
        "microseconds": {name: round(1e6 * value, 2) for name, value in times.items()},
        "refused": refused,
        "faster than the best peer": round(min(peers.values()) / times["g4v"], 2) if peers else None,
        "TFLOP/s": round(flop / times["g4v"] / 1e12, 1),
        "TB/s": round(size / times["g4v"] / 1e12, 2),
        **roofline(times["g4v"], size, flop, device),
        "relative error against float64": relative_error(out, exact),
        "relative error of plain attention in the same type": relative_error(plain, exact),
        **wgmma,
    }


def roofline(seconds: float, size: float, flop: float, device: str) -> Row:
    name = torch.cuda.get_device_name() if device != "cpu" else ""
    for known, (bandwidth, rate) in LIMITS.items():
        if known in name:
            limit = max(size / bandwidth, flop / rate)
            return {
                "limit, microseconds": round(1e6 * limit, 2),
                "times the limit": round(seconds / limit, 2),
            }
    return {}


class Folded(nn.Module):
    """The abstractor as the exporter rewrites it, in PyTorch, for more than one frame: one product makes the
    keys and values of all layers, norms are folded into it, and g4v's kernel does the attention.
    """

    def __init__(self, abstractor: VideoAbstractor, dtype: torch.dtype) -> None:
        super().__init__()
        config = abstractor.config
        self.width, self.heads, self.spatial = config.hidden_size, config.num_heads, config.num_queries
        self.eps = config.layer_norm_eps
        weight, bias = folded_memory_product(abstractor)
        self.memory = nn.Parameter(weight.t().contiguous().to(dtype))
        self.memory_bias = nn.Parameter(bias.flatten().to(dtype))
        self.abstractor = abstractor
        start = torch.cat([abstractor.query_tokens, abstractor.temporal_query_tokens], dim=1)
        self.start = nn.Parameter(start.to(dtype))
        self.own = nn.ParameterList()
        self.own_bias = nn.ParameterList()
        for layer in abstractor.encoder.layers:
            parts = layer.crossattention.attention
            parts = (parts.query, parts.key, parts.value)
            self.own.append(nn.Parameter(torch.cat([p.weight for p in parts]).to(dtype)))
            self.own_bias.append(nn.Parameter(torch.cat([p.bias for p in parts]).to(dtype)))

    def forward(self, features: Tensor) -> Tensor:
        batch = features.shape[0]
        memory = F.layer_norm(features.flatten(1, 2), (self.width,), eps=self.eps)
        memory = F.linear(memory, self.memory, self.memory_bias)
        memory = memory.unflatten(-1, (-1, 2, self.heads, self.width // self.heads))
        x = self.start.expand(batch, -1, -1)
        for i, layer in enumerate(self.abstractor.encoder.layers):
            block = layer.crossattention
            q = block.norm1(x)
            own = F.linear(q, self.own[i], self.own_bias[i]).unflatten(-1, (3, self.heads, -1))
            parts = [own[:, :, j].transpose(1, 2) for j in range(3)]
            keys_values = [memory[:, :, i, j].transpose(1, 2) for j in range(2)]
            mixed = cross_attention(*parts, *keys_values).transpose(1, 2).flatten(2)
            y = q + block.output.out_proj(mixed)
            x = y + block.output.mlp(block.output.norm2(y))
        tokens = self.abstractor.visual_fc(x[:, : self.spatial])
        tokens = tokens + self.abstractor.temporal_visual_fc(x[:, self.spatial :])
        return torch.cat([tokens, self.abstractor.vit_eos.expand(batch, -1, -1)], dim=1)


@torch.no_grad()
def whole(timer: Timer, frames: int, dtype: torch.dtype, rounds: int, config: AbstractorConfig) -> Row:
    torch.manual_seed(0)
    abstractor = VideoAbstractor(config).eval()
    features = torch.randn(1, frames, TOKENS, config.memory_size)
    exact = abstractor.double()(features.double())
    abstractor = abstractor.float()
    folded = Folded(abstractor, dtype).to(timer.device).eval()
    plain = VideoAbstractor(config).eval()
    plain.load_state_dict(abstractor.state_dict())
    plain = plain.to(timer.device, dtype)
    folded.abstractor.to(dtype)
    x = features.to(timer.device, dtype)
    candidates = {
        "g4v, one graph": timer.prepare(lambda: folded(x), graph=True),
        "torch eager": timer.prepare(lambda: plain(x), graph=False),
    }
    if timer.device != "cpu":
        compiled = torch.compile(plain, mode="max-autotune")  # with CUDA graphs of its own
        candidates["torch.compile, CUDA graphs"] = timer.prepare(lambda: compiled(x), graph=False)
    times = timer.interleave(candidates, rounds)
    rows = frames * TOKENS
    product = 2.0 * rows * config.hidden_size * LAYERS * 2 * config.hidden_size
    chain = 2.0 * QUERIES * config.hidden_size * (4 * config.hidden_size + 3 * config.intermediate_size)
    attention_flop = 4.0 * QUERIES * (rows + QUERIES) * config.hidden_size
    flop = product + LAYERS * (chain + attention_flop)
    weights = sum(p.numel() for p in folded.parameters()) * x.element_size()
    kept = 2.0 * rows * LAYERS * 2 * config.hidden_size * x.element_size()  # written, then read
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "frames": frames,
        "microseconds": {name: round(1e6 * value, 1) for name, value in times.items()},
        "faster than": {
            name: round(value / times["g4v, one graph"], 2)
            for name, value in times.items()
            if "g4v" not in name
        },
        **roofline(times["g4v, one graph"], weights + kept, flop, timer.device),
        "relative error against float64": relative_error(folded(x).cpu(), exact),
        "relative error of eager in the same type": relative_error(plain(x).cpu(), exact),
    }


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """float32 products without TF32, for g4v and its peers alike."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield


def machine(device: str) -> Row:
    about: Row = {"versions": {"g4v": __version__, "torch": torch.__version__, "cuda": torch.version.cuda}}
    if device != "cpu":
        query = [
            "nvidia-smi",
            "--query-gpu=name,driver_version,clocks.max.sm,power.limit",
            "--format=csv,noheader",
        ]
        about["nvidia-smi"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
        about["kernels"] = _core.cuda_kernels()
    return about


def verdict(rows: list[Row]) -> str:
    """One line: which of g4v's two 16-bit kernels wins, and whether the unchosen one is exact enough."""
    measured = [row for row in rows if "relative error of wgmma" in row]
    if not measured:
        return "wgmma was not measured: " + next(
            (row["refused"][WGMMA_NAME] for row in rows if WGMMA_NAME in row["refused"]), "no rows"
        )
    ratios = [row["wgmma faster than g4v's choice"] for row in measured]
    allowed = "relative error of plain attention in the same type"
    wrong = [row for row in measured if not row["relative error of wgmma"] <= 2 * row[allowed]]
    won = sum(ratio > 1 for ratio in ratios)
    speed = f"{min(ratios)} to {max(ratios)} times the speed of the chosen kernel"
    exact = f"IT IS WRONG in {len(wrong)} of them" if wrong else "exact enough in all"
    return f"wgmma wins in {won} of {len(ratios)} shapes: {speed}; {exact}"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--rounds", type=int, default=50, help="timed calls of each candidate (default: 50)")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="one shape, and a small abstractor")
    options = parser.parse_args()
    timer = Timer(options.device)
    report: Row = {"machine": machine(options.device), "attention": [], "abstractor": []}
    print(json.dumps(report["machine"]))
    shapes = [(1, f) for f in (1, 4, 8, 16, 32)] + [(4, 8), (16, 8)]
    config = AbstractorConfig()
    if options.quick:
        shapes, config = [(1, 2)], AbstractorConfig(num_layers=LAYERS, output_size=256, intermediate_size=64)
    with exact_products():
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            for batch, frames in shapes:
                report["attention"].append(attention(timer, batch, frames, dtype, options.rounds))
                print("attention", json.dumps(report["attention"][-1]), flush=True)
        print(verdict(report["attention"]), flush=True)
        for frames in [2] if options.quick else [4, 8, 16, 32]:
            report["abstractor"].append(whole(timer, frames, torch.bfloat16, options.rounds, config))
            print("abstractor", json.dumps(report["abstractor"][-1]), flush=True)
    if options.out:
        write_json(options.out, report, indent=1)


if __name__ == "__main__":
    main()
