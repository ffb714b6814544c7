"""What an export will need, told before it starts from the headers of the weight files alone."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.export.checkpoint.llama import EMBEDDING, HEAD, LlamaWeights
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.engines.tensorrt import ENGINES, load_library
from g4v.export.errors import ExportError
from g4v.export.graph.cuda import TARGET as CUDA
from g4v.export.plan.precision import Precisions
from g4v.export.progress import duration
from g4v.export.quantisation.calibration import NONE, OWN, chosen
from g4v.export.quantisation.codes import BITS, BLOCK
from g4v.export.quantisation.rounding import Bits
from g4v.export.report.report import size
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.weight_files import index_files

# All of this was measured at full size: benchmarks/export_full_size.py and export_llama.py.
_LIBRARIES = 0.8e9  # bytes: Python, PyTorch, transformers, diffusers and ONNX Runtime
_TENSORRT = 0.5e9  # and of TensorRT
# Bytes per weight of a component at most. On the CPU the session's, with those that it lays out anew, are the
# most; of an engine those of the graph, of TensorRT's copy and of the result; of the encoder those that are
# read and made float32; of the VAE those of images in float64.
_CPU = {"encoder": 10, "text_encoder": 7, "vae_decoder": 45}
_ENGINE = {"encoder": 10, "vae_decoder": 45}
_OTHERS_CPU, _OTHERS_ENGINE = 9, 8
# And where the processor has tiles those of the weights' pieces, which stand beside the file while it runs.
_TILES = {"fp32": 6, "bf16x2": 4}
_TILED = ("encoder", "abstractor")
_WHOLE = 24  # of one that is compared as a whole: float32, its copy in float64, the session's
_READ = 11  # of the encoder, when features are made for what reads them
_READS_FEATURES = ("abstractor", "frame_checker")
# Bytes per weight of the layer, or the head, that is worked on: float32, rounded, the session's.
_LAYER = 15
# For a weight; of int8 for one that is not rounded. Others have two.
_BYTES = {"fp32": 4, "bf16x2": 4, "int8": 4, "fp8": 1}
# Seconds of one core per million weights. Of the decoder: read, written, compared; that of int4 is near what
# one layer of the 7B model took, the others are scaled from it. Of a graph of another component: written,
# measured, compared on random inputs and on real ones; of the encoder for a clip of 8 frames.
_DECODER = {"fp32": 0.08, "fp16": 0.08, "int8": 0.1, "int4": 0.12}
_GRAPH = {"encoder": 0.45, "abstractor": 0.2, "text_encoder": 0.1, "unet": 0.11, "vae_decoder": 1.5}
_OTHERS = 0.2
_FEATURES = 0.06  # per million weights of the encoder, for what reads its features
_LATENTS = 0.01  # per million weights of the UNet, for texts and latents
_FITTING = 1.0  # of rounding that is fitted to 8,192 tokens
_START = 10.0  # seconds until the libraries are loaded and the headers read
_BUILD = (2.0, 0.045)  # of an engine: whatever its size, and per million weights

# Matrices that int8 makes bytes of, by component (g4v.export.quantisation.dynamic_int8 and the builders). The abstractor's
# first queries are constants, and so have no product.
_ROUNDED = {
    "encoder": re.compile(r"layers\.(?!0\.).*\.weight"),
    "abstractor": re.compile(
        r"attention\.(key|value)\.weight|layers\.(?!0\.).*attention\.query\.weight|out_proj\.weight"
    ),
    "unet": re.compile(
        r"resnets.*conv[12]\.weight|temp_convs.*\.weight|proj_(in|out)\.weight"
        r"|transformer_blocks(?!.*attn2\.to_[kv]).*\.weight|transformer_in.*\.weight"
    ),
}


@dataclass(frozen=True)
class Need:
    """What a component needs. weights: their number; disk: bytes in the bundle; peak: bytes of memory while
    it is exported; resident: bytes that it takes when it runs on the CPU, and gpu: bytes of the weights that
    a GPU then holds; seconds: of one core.
    """

    name: str
    precision: str
    weights: int
    disk: int
    peak: int
    resident: int
    gpu: int
    seconds: float


def plan_export(
    checkpoint: Checkpoint,
    precisions: Precisions,
    only: Collection[str] | None = None,
    calibration: str | None = None,
) -> list[Need]:
    """The needs of the components that are to be exported, by default of all that the checkpoint has.
    calibration: as in g4v.export.quantisation.calibration.
    ExportError if its files are damaged, or if it has not what `only` names.
    """
    tensors = read_tensors(checkpoint)
    counts = {name: sum(map(math.prod, found.values())) for name, found in tensors.items()}
    frames = int(checkpoint.about["frames"])
    needs = [_whole(n, precisions[n], counts, _rounded(n, tensors[n]), frames) for n in counts]
    if checkpoint.has("llm"):
        needs.append(_decoder(checkpoint.llm(), precisions["decoder"], calibration))
    names = [need.name for need in needs]
    for component in only or ():
        if component not in names:
            raise ExportError(f"{checkpoint.run}: has no {component} to export (only {', '.join(names)})")
    return [need for need in needs if only is None or need.name in only]


def read_tensors(checkpoint: Checkpoint) -> dict[str, dict[str, Sequence[int]]]:
    """Of every component but the decoder the shape of each tensor. ExportError: damaged files."""
    parts: list[tuple[str, Path, str]] = []  # component, folder, prefix of its tensors
    if checkpoint.has("encoder"):
        parts += [("encoder", checkpoint.parts["encoder"], "")]
        parts += [("abstractor", checkpoint.parts["abstractor"], "")]
    if checkpoint.has("t2v"):
        folder = checkpoint.parts["t2v"]
        parts += [("text_encoder", folder / "text_encoder", ""), ("unet", folder / "unet", "")]
        parts += [("vae_decoder", folder / "vae", "decoder.")]
    if checkpoint.has("frame_checker"):
        parts += [("frame_checker", checkpoint.parts["frame_checker"], "")]
    return {name: _shapes(folder, prefix) for name, folder, prefix in parts}


def _whole(
    name: str, variants: Mapping[str, str], counts: Mapping[str, int], rounded: int, frames: int
) -> Need:
    """rounded: weights that int8 makes bytes of."""
    weights = counts[name]
    disk = resident = peak = 0
    millions = weights / 1e6
    graph = millions * _GRAPH.get(name, _OTHERS)
    seconds, held = 0.0, {}
    if name == "encoder":
        graph *= (frames + 2) / 10
    elif name in _READS_FEATURES:
        seconds += counts["encoder"] / 1e6 * _FEATURES * (frames + 1) / 9
    elif name == "unet":
        seconds += millions * _LATENTS
    for target, precision in variants.items():
        size = _BYTES.get(precision, 2) * weights - (3 * rounded if precision == "int8" else 0)
        held[target] = size
        disk += size
        seconds += graph
        if target not in ENGINES:
            tiles = _TILES.get(precision, 0) if target == "cpu" and name in _TILED else 0
            resident += size + (tiles * weights or size) if target == "cpu" else 0
            peak = max(peak, int(_LIBRARIES + (_CPU.get(name, _OTHERS_CPU) + tiles) * weights))
        else:
            seconds += _BUILD[0] + millions * _BUILD[1]
            scale = 2 if precision == "fp32" else 1
            needed = _ENGINE.get(name, _OTHERS_ENGINE) * scale * weights
            peak = max(peak, int(_LIBRARIES + _TENSORRT + needed))
    if name in _READS_FEATURES:
        peak = max(peak, int(_LIBRARIES + max(_WHOLE * weights, _READ * counts["encoder"])))
    gpu = _on_gpu(held)
    return Need(name, ", ".join(variants.values()), weights, disk, peak, resident, gpu, seconds)


def _on_gpu(held: Mapping[str, int]) -> int:
    """Bytes of the variant that a GPU runs: an engine, else the graph for CUDA, else that for the CPU."""
    engines = [size for target, size in held.items() if target in ENGINES]
    return engines[0] if engines else held.get(CUDA, next(iter(held.values())))


def _decoder(weights: LlamaWeights, variants: Mapping[str, str], calibration: str | None) -> Need:
    counts = {name: math.prod(shape) for name, shape in weights.shapes.items()}
    embedding = counts[f"{EMBEDDING}.weight"]
    names = [*weights.products(), HEAD]
    multiplied = {name: counts[f"{name}.weight"] for name in names}
    products = sum(multiplied.values())
    rest = sum(counts.values()) - products - embedding
    tables = weights.config.max_position_embeddings * weights.config.head_dim
    layer = sum(n for name, n in counts.items() if name.startswith("model.layers.0."))
    peak = int(_LIBRARIES + _LAYER * max(layer, embedding))
    disk = resident = 4 * embedding
    seconds, held = 0.0, {}
    made: set[str] = set()  # codes that another target's graph reads, too
    for target, precision in variants.items():
        width = 4 if target == "cpu" else 2
        graph, fitted = float(width * (rest + tables)), 0
        weights_read = graph  # with codes that are stored for another target
        bits = Bits(weights, precision) if precision in BITS else None
        for name, count in multiplied.items():
            kept = bits is not None and bits.kept(name)
            fitted += 0 if kept else count
            # Codes of a file may have an offset beside the scale.
            scales = width * (2 if kept else 1) / BLOCK
            codes = bits(name) / 8 if bits and precision not in made else 0
            graph += count * (codes + scales if bits else width)
            weights_read += count * (bits(name) / 8 + scales if bits else width)
        seconds += (products + embedding) / 1e6 * _DECODER[precision]
        how = chosen(weights, calibration) if bits and fitted and precision not in made else NONE
        if how != NONE:
            seconds += fitted / 1e6 * _FITTING
            # The second moment of the widest inputs and two factors of it, in float64.
            peak += 24 * weights.config.intermediate_size**2
            peak = max(peak, int(_LIBRARIES + 4 * sum(counts.values()))) if how == OWN else peak
        disk += int(graph)
        held[target] = int(weights_read)
        resident += 2 * int(graph) if target == "cpu" else 0
        made |= {precision} if bits else set()
    precisions = ", ".join(variants.values())
    return Need("decoder", precisions, sum(counts.values()), disk, peak, resident, _on_gpu(held), seconds)


def _rounded(component: str, shapes: Mapping[str, Sequence[int]]) -> int:
    """Weights that int8 of a component makes bytes of."""
    if component not in _ROUNDED:
        return 0
    # A depthwise convolution is no product.
    matrices = {name: shape for name, shape in shapes.items() if len(shape) > 1 and shape[1] > 1}
    return sum(math.prod(shape) for name, shape in matrices.items() if _ROUNDED[component].search(name))


def _shapes(folder: Path, prefix: str) -> dict[str, Sequence[int]]:
    """Shapes of the weights in the safetensors files of a folder whose names start with `prefix`."""
    from safetensors import safe_open

    found: dict[str, Sequence[int]] = {}
    try:
        for index in folder.glob("*.safetensors.index.json"):
            index_files(index)
    except CheckpointError as error:  # such as for a file that it names and that is missing
        raise ExportError(str(error)) from None
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as opened:
                names = [name for name in opened.keys() if name.startswith(prefix)]  # noqa: SIM118
                found |= {name: opened.get_slice(name).get_shape() for name in names}
        except Exception as error:  # safetensors raises its own class
            raise ExportError(f"{file}: damaged or truncated: {error}") from None
    if not found:
        raise ExportError(
            f"{folder}: no safetensors with weights; save it with save_pretrained (pickles are not read)"
        )
    return found


def needed_disk(needs: list[Need]) -> int:
    """Bytes of the bundle."""
    return sum(need.disk for need in needs)


def check_disk(needs: list[Need], out: Path) -> None:
    """ExportError if the bundle will not fit where it is to be written."""
    free = shutil.disk_usage(existing(out)).free
    if needed_disk(needs) > free:
        raise ExportError(
            f"{out}: the bundle takes {size(needed_disk(needs))}, and {size(free)} are free there: choose "
            "another folder or a smaller --precision"
        )


def describe_plan(needs: list[Need], out: Path) -> tuple[list[str], list[str]]:
    """Lines for a person, and what is missing: a line each."""
    head = ("component", "precision", "weights", "bundle", "peak memory")
    table = [head] + [
        (n.name, n.precision, f"{n.weights / 1e6:.1f} M", size(n.disk), size(n.peak)) for n in needs
    ]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    disk, peak = needed_disk(needs), max(need.peak for need in needs)
    free, memory = shutil.disk_usage(existing(out)).free, _memory()
    resident = sum(need.resident for need in needs)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # More than half of the work is done by one core at a time.
    seconds = sum(need.seconds for need in needs) * (0.6 + 0.4 / min(cores, 8))
    lines += [
        f"disk: {size(disk)} at {out} ({size(free)} free)",
        f"memory of the export: about {size(peak)}" + (f" ({size(memory)} free)" if memory else ""),
        *([f"memory of the assistant on the CPU: about {size(resident)}"] if resident else []),
        f"time: about {duration(_START + seconds)}",
    ]
    missing = []
    if disk > free:
        missing.append(f"{size(disk - free)} of disk at {out}")
    if memory and peak > memory:
        missing.append(f"{size(peak - memory)} of memory")
    return lines, missing


def missing_packages(precisions: Precisions, needs: list[Need]) -> list[str]:
    """What is not installed and the export needs: a line each."""
    missing = []
    for target, engine in ENGINES.items():
        if any(target in precisions[need.name] for need in needs):
            try:
                load_library(engine)
            except ExportError as error:
                missing.append(str(error))
    return missing


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _memory() -> int | None:
    """Bytes of memory that a new process can have; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    values: dict[str, Any] = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return values.get("MemAvailable")
