"""What do 8-bit weights and activations cost and gain in the encoder and the UNet, on this processor?

    python benchmarks/eight_bit.py [--parts encoder unet tiny] [--video FILE] [--json FILE] [--threads 2]

encoder: ViT-L/14 as the video tower, 8 frames, random weights whose activations keep their size. unet:
    three of ZeroScope's four levels (320, 640 and 1,280 channels, one layer each: 0.51 billion weights), one
    step on 8 frames of 160x288, random weights and inputs. tiny: the trained encoder and UNet of the
    repository, errors alone: features of drawn clips, one denoising step on random latents, and what remains
    in finished videos of the same seeds.

Eager PyTorch, our float32 graph and our graphs of 8 bits ("products": with convolutions in float32) run in
turn in one process, and of the encoder one whose products are bf16x2 (g4v.export.graph.cpu.SplitGemm) and one
in float32 with ONNX Runtime's products in place of ours; figures are medians, ratios are of medians. Loading
is not timed. Errors are against PyTorch in float32: the norm of the difference over the norm, and the largest
difference over the largest value. Frames come from FILE, or are drawn by the shapes world. Random weights say
little about how well real ones round: their activations have no outliers, so the trained ones of `tiny` are
the better witness, small as it is.

The limit: the operations of rounded products at the rate of ONNX Runtime's plain integer product of 2048 x
4096 x 4096, and all others at that of PyTorch's float32 product of 2048 x 2048 x 2048, both measured between
the rounds; of the encoder in bf16x2 all, three times, at the rate of bfloat16 multiply-adds in registers, and
in float32 six times, where the processor has them. With --json the parts are added to those in FILE; the last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from abstractor import session
from export_full_size import draw_weights
from onnx import TensorProto, helper, numpy_helper

import g4v
from g4v import _core
from g4v._console import machine
from g4v._runtime import import_core
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.encoder import export_encoder
from g4v.export.components.lowerings import BF16X2, BF16X3, INT8
from g4v.export.components.unet import export_unet
from g4v.export.graph.cpu import CPU, CpuLowering
from g4v.export.graph.lowering import Lowering
from g4v.export.verify.error_measures import norm_error, relative_error
from g4v.model.presets import PRESETS
from g4v.model.vision import build_encoder
from g4v.ops import versions
from g4v.shapes.world.render import render
from g4v.shapes.world.world import caption, sample_scene
from g4v.video import read_video

CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
TINY = Path(__file__).parents[1] / "python" / "g4v" / "checkpoints" / "tiny"
PAUSE = 0.05  # seconds; threads spin for some milliseconds after a call
Row = dict[str, Any]


@dataclass(frozen=True)
class ProductsAlone(CpuLowering):
    """Its convolutions stay in float32."""

    convolution = Lowering.convolution


PRODUCTS_ALONE = ProductsAlone(int8=INT8.int8)


def drawn(count: int, frames: int, size: int) -> list[np.ndarray]:
    """Clips of the shapes world, uint8 [frames, size, size, 3]."""
    randoms = [np.random.default_rng([7, i]) for i in range(count)]
    return [render(sample_scene(r, "all"), r, frames, size) for r in randoms]


def integer_product(folder: Path, threads: int) -> tuple[Callable[[], Any], float]:
    """A product of bytes, and its operations."""
    rows, n = 2048, 4096
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.integers(-63, 64, (n, n), np.int8), "w")
    zero = numpy_helper.from_array(np.uint8(128), "z")
    node = helper.make_node("MatMulInteger", ["x", "w", "z"], ["y"])
    given = helper.make_tensor_value_info("x", TensorProto.UINT8, ["rows", n])
    made = helper.make_tensor_value_info("y", TensorProto.INT32, ["rows", n])
    graph = helper.make_graph([node], "g", [given], [made], [weight, zero])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    path = folder / "integers.onnx"
    path.write_bytes(model.SerializeToString())
    opened = session(path, threads)
    x = rng.integers(0, 256, (rows, n), np.uint8)
    return lambda: opened.run(None, {"x": x}), 2.0 * rows * n * n


def interleave(candidates: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each, after one call that is not timed."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, call in candidates.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            call()
            if number:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def run_and_count(module: torch.nn.Module, call: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    """What it computes, and the operations of its products and convolutions, without attention's own."""
    total = [0.0]

    def count(layer: Any, _: Any, made: torch.Tensor) -> None:
        each = layer.weight[0].numel()
        total[0] += 2.0 * made.numel() * each

    kinds = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)
    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, kinds)]
    made = call()
    for hook in hooks:
        hook.remove()
    return made, total[0]


def rounded_share(path: Path) -> float:
    """The share of the weights of a graph's products and convolutions that are stored in 8 bits."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    matrices = [t for t in model.graph.initializer if len(t.dims) > 1 and min(t.dims) > 1]
    whole = sum(int(np.prod(t.dims)) for t in matrices)
    return sum(int(np.prod(t.dims)) for t in matrices if t.data_type == TensorProto.INT8) / whole


def compare(
    module: torch.nn.Module,
    export: Callable[..., Any],
    lowerings: dict[str, CpuLowering],
    feed: dict[str, torch.Tensor],
    run: Callable[[], torch.Tensor],
    options: argparse.Namespace,
) -> Row:
    found: Row = {}
    arrays = {name: value.numpy() for name, value in feed.items()}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        expected, flop = run_and_count(module, run)
        candidates: dict[str, Callable[[], Any]] = {"PyTorch eager, fp32": run}
        rows: dict[str, Row] = {"PyTorch eager, fp32": {}}
        for number, (name, lowering) in enumerate(lowerings.items()):
            stem = f"graph{number}"  # a session maps its file
            export(module, folder, stem, lowering)
            opened = session(folder / f"{stem}.onnx", options.threads)
            made = opened.run(None, arrays)[0]
            rows[name] = {
                "bytes": (folder / f"{stem}.data").stat().st_size,
                "norm_error": norm_error(made, expected),
                "largest_error": relative_error(made, expected),
                "share_of_weights_rounded": round(rounded_share(folder / f"{stem}.onnx"), 3),
            }
            candidates[name] = lambda opened=opened: opened.run(None, arrays)
            print(name, rows[name], flush=True)
        product, of_integers = integer_product(folder, options.threads)
        a, b = torch.randn(2, 2048, 2048).unbind(0)
        candidates |= {"integers": product, "sgemm": lambda: a @ b}
        while options.wait_for and not options.wait_for.exists():
            time.sleep(0.2)
        times = interleave(candidates, options.rounds)
    found["integer_gops"] = round(of_integers / times.pop("integers") / 1e9)
    found["float32_gflops"] = round(2.0 * 2048**3 / times.pop("sgemm") / 1e9)
    found["gflop"] = round(flop / 1e9, 1)
    if "amx" in versions():
        found["bfloat16_gflops"] = round(
            _core.testing.multiply_add_peak(options.threads, bfloat16=True) / 1e9
        )
    eager, ours = times["PyTorch eager, fp32"], times["g4v fp32"]
    for name, seconds in times.items():
        share = rows[name].get("share_of_weights_rounded", 0.0)
        limit = share * found["gflop"] / found["integer_gops"]
        limit += (1 - share) * found["gflop"] / found["float32_gflops"]
        split = lowerings.get(name, CPU).split_gemm
        if split.everywhere and "bfloat16_gflops" in found:
            products = split.pieces * (split.pieces + 1) // 2
            limit = products * found["gflop"] / found["bfloat16_gflops"]
        rows[name] |= {
            "seconds": round(seconds, 3),
            "faster_than_eager": round(eager / seconds, 2),
            "faster_than_g4v_fp32": round(ours / seconds, 2),
            "limit_seconds": round(limit, 3),
            "times_the_limit": round(seconds / limit, 2),
        }
    return found | {"graphs": rows}


@torch.no_grad()
def encoder(options: argparse.Namespace) -> Row:
    torch.manual_seed(0)
    tower = build_encoder(PRESETS["gpt4video-7b"].encoder_config()).eval()
    draw_weights(tower)
    clip = read_video(options.video, 8)[0] if options.video else drawn(1, 8, 224)[0]
    pixels = torch.from_numpy(import_core().preprocess(clip, 224, CLIP_MEAN, CLIP_STD))
    lowerings = {
        "g4v fp32": BF16X3,
        "ONNX Runtime's products, fp32": CPU,
        "g4v bf16x2": BF16X2,
        "g4v int8": INT8,
    }
    row = compare(tower, export_encoder, lowerings, {"pixel_values": pixels}, lambda: tower(pixels), options)
    return {"frames": 8, "input": "a film" if options.video else "a drawn clip"} | row


@torch.no_grad()
def unet(options: argparse.Namespace) -> Row:
    from diffusers import UNet3DConditionModel

    torch.manual_seed(0)
    attends, plain = "CrossAttn{}Block3D", "{}Block3D"
    model = UNet3DConditionModel(
        **PRESETS["gpt4video-7b"].unet
        | {
            "block_out_channels": (320, 640, 1280),
            "layers_per_block": 1,
            "down_block_types": tuple(kind.format("Down") for kind in (attends, attends, plain)),
            "up_block_types": tuple(kind.format("Up") for kind in (plain, attends, attends)),
        }
    ).eval()
    draw_weights(model)
    feed = {
        "sample": torch.randn(1, 4, 8, 20, 36),
        "timestep": torch.tensor([500.0]),
        "encoder_hidden_states": torch.randn(1, 77, model.config.cross_attention_dim),
    }
    lowerings = {"g4v fp32": CPU, "g4v int8, products": PRODUCTS_ALONE, "g4v int8": INT8}
    weights = sum(p.numel() for p in model.parameters())
    return {"weights": weights} | compare(
        model, export_unet, lowerings, feed, lambda: model(**feed).sample, options
    )


@torch.no_grad()
def tiny(options: argparse.Namespace) -> Row:
    run = Checkpoint.open(TINY)
    tower, model = run.encoder().float().eval(), run.unet().float().eval()
    mean, std = run.image_statistics()
    clips = drawn(12, run.about["frames"], 64)
    clips += [read_video(options.video, run.about["frames"])[0]] if options.video else []
    size = tower.image_size
    feeds = [import_core().preprocess(clip, size, list(mean), list(std)) for clip in clips]
    found: Row = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        export_encoder(tower, folder, "encoder", INT8)
        opened = session(folder / "encoder.onnx", options.threads)
        errors = [
            norm_error(opened.run(None, {"pixel_values": feed})[0], tower(torch.from_numpy(feed)))
            for feed in feeds
        ]
        found["features of drawn clips, norm error"] = [min(errors[:12]), max(errors[:12])]
        if options.video:
            found["features of a film, norm error"] = errors[12]
        generator = torch.Generator().manual_seed(0)
        feed = {
            "sample": torch.randn(2, model.config.in_channels, 8, 8, 8, generator=generator),
            "timestep": torch.tensor([500.0]),
            "encoder_hidden_states": torch.randn(
                2, 32, model.config.cross_attention_dim, generator=generator
            ),
        }
        arrays = {name: value.numpy() for name, value in feed.items()}
        for name, lowering in (("products", PRODUCTS_ALONE), ("all", INT8)):
            export_unet(model, folder, name, lowering)
            made = session(folder / f"{name}.onnx", options.threads).run(None, arrays)[0]
            found[f"one denoising step, {name}, norm error"] = norm_error(made, model(**feed).sample)
        for precision in ("fp32", "unet=int8"):
            export_bundle(TINY, folder / precision, precision=precision)
        plain, rounded = (g4v.load(folder / p, device="cpu") for p in ("fp32", "unet=int8"))
        differences = []
        for seed in range(options.videos):
            text = caption(sample_scene(np.random.default_rng([9, seed]), "all"))
            a, b = (each.generate(text, seed=seed).frames.astype(np.int16) for each in (plain, rounded))
            differences.append(float(np.abs(a - b).mean()))
    found["videos"] = options.videos
    found["mean difference of frames, of 255"] = {
        "median": statistics.median(differences),
        "worst": max(differences),
    }
    return found


PARTS: dict[str, Callable[[argparse.Namespace], Row]] = {"encoder": encoder, "unet": unet, "tiny": tiny}


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--video", type=Path, metavar="FILE", help="a film in place of drawn clips")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wait-for", type=Path, metavar="FILE", help="begin to time when FILE exists")
    parser.add_argument("--videos", type=int, default=24, help="that are made with each of tiny's UNets")
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: Row = {}
    if options.json and options.json.exists():
        found = json.loads(options.json.read_text("utf-8"))
    for part in options.parts:
        found[part] = {"machine": machine(), "threads": options.threads} | PARTS[part](options)
        print(part, json.dumps(found[part], indent=1), flush=True)
    found["versions"] = {
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "g4v": g4v.__version__,
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
