"""Estimates disk, memory and time of an export before it starts, from the headers of the weight files."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from g4v.export.checkpoint import ltx, t5, wan
from g4v.export.checkpoint.llama import EMBEDDING, HEAD, LlamaWeights
from g4v.export.checkpoint.pipelines import pipeline_of
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.own_text import WRITER
from g4v.export.components.precision import CPU, CUDA, ENGINE_TARGETS, Precisions
from g4v.export.errors import ExportError
from g4v.export.plan.tensor_shapes import read_shapes
from g4v.export.plan.video_samples import video_seconds
from g4v.export.quantisation.bit_allocation import BitAllocation
from g4v.export.quantisation.calibration import NONE, OWN, SEQUENCES, resolve_choice, sequence_length
from g4v.export.quantisation.codes import BITS
from g4v.model.bases.mplug_owl import is_mplug_owl
from g4v.model.bases.video_language import is_video_language
from g4v.model.bases.weight_files import find_weight_files, open_weights
from g4v.ops import versions
from g4v.weights.packed_file import header_bytes
from g4v.weights.packed_layout import PANEL
from g4v.weights.round_to_nearest import BLOCK

# All of this was measured at full size: benchmarks/export_full_size.py and export_llama.py.
_LIBRARIES = 0.8e9  # bytes of Python, PyTorch, transformers, diffusers and ONNX Runtime
_TENSORRT = 0.5e9  # bytes of TensorRT
# Peak memory in bytes per weight of a component. On the CPU the largest part is the session's, with the
# weights that it stores in another layout; for an engine that of the graph, TensorRT's copy and the result;
# for the encoder the weights that are read and converted to float32; for the VAE images in float64. Its
# encoder, which was not measured, has as large images and 0.7 as many weights as its decoder.
_CPU = {"encoder": 10, "text_encoder": 7, "vae_decoder": 45, "vae_encoder": 65}
_VIDEO_VAE = {wan.PIPELINE: 62, **dict.fromkeys(ltx.PIPELINES, 33)}  # of decoders over time
# Of networks whose weights stay in their files, in bytes per byte of the graph's products: its session's.
_MAPPED = 1.1
_ENGINE = {"encoder": 10, "vae_decoder": 45, "vae_encoder": 65}
_OTHERS_CPU, _OTHERS_ENGINE = 9, 8
# Where the processor has AMX also the split weights of bf16x3 and bf16x2 products, which stand beside the
# file while the graph runs.
_SPLIT_WEIGHTS = {"fp32": 6, "bf16x2": 4}
_SPLIT_GEMM = ("encoder", "abstractor")
_WHOLE = 24  # of a component that is compared as a whole: float32, its copy in float64, the session's
_READ = 11  # of the encoder, when features are made for the components that read them
_IN_PLACE = 8  # of an encoder in a published checkpoint, whose tensors are read one at a time
OPTIONAL = "vae_encoder"  # written where it is asked for
_READS_FEATURES = ("abstractor", "frame_checker")
# Bytes per weight of the decoder's layer, or head, that is worked on: float32, quantised, the session's.
_LAYER = 15
# Bytes of a weight in the bundle; int8 counts those that are not quantised. Other precisions have two.
_BYTES = {"fp32": 4, "bf16x2": 4, "int8": 4, "fp8": 1}
# Seconds of one core per million weights. For the decoder: reading, writing, comparing; int4 is near what one
# layer of the 7B model took, the others are scaled from it. For a graph of another component: writing,
# measuring, comparing on random inputs and on real ones; for the encoder with a clip of 8 frames.
_DECODER = {"fp32": 0.08, "fp16": 0.08, "int8": 0.1, "int4": 0.12}
_GRAPH = {"encoder": 0.45, "abstractor": 0.2, "text_encoder": 0.1, "unet": 0.11, "vae_decoder": 1.5}
_GRAPH["vae_encoder"] = _GRAPH["vae_decoder"]
_GRAPH["transformer"] = _GRAPH["unet"]  # not measured
_OTHERS = 0.2
_FEATURES = 0.06  # per million weights of the encoder, for a component that reads its features
_LATENTS = 0.01  # per million weights of UNet or transformer, for texts and latents
_GPTQ = 0.6  # of GPTQ on 8,192 tokens
_OWN_TEXT = 0.2  # of all weights of a decoder that writes them
_BUILD = (2.0, 0.045)  # building an engine: of any size, and per million weights

# Matrices whose weights int8 stores as bytes, by component (g4v.export.quantisation.dynamic_int8 and the
# builders). The abstractor's first queries are constants, and so have no product.
_INT8_MATRICES = {
    "encoder": re.compile(r"layers\.(?!0\.).*\.weight"),
    "abstractor": re.compile(
        r"attention\.(key|value)\.weight|layers\.(?!0\.).*attention\.query\.weight|out_proj\.weight"
        r"|^proj\.weight|^linear_[12]\.weight"  # of connectors
    ),
    "text_encoder": re.compile(  # of CLIP, and of T5
        r"encoder\.(layers|block)\.(?!0\.).*(_proj|fc[12]|SelfAttention\.[qkvo]|DenseReluDense\.w.+)\.weight"
    ),
    "unet": re.compile(
        r"resnets.*conv[12]\.weight|temp_convs.*\.weight|proj_(in|out)\.weight"
        r"|transformer_blocks(?!.*attn2\.to_[kv]).*\.weight|transformer_in.*\.weight"
    ),
    "transformer": re.compile(r"blocks\.(?!.*attn2\.to_[kv]).*(attn|ffn?\.).*\.weight"),
}


@dataclass(frozen=True)
class ExportEstimate:
    """What the export of one component is estimated to need, and the component when it runs.

    name: of the component. precision: of its variants, such as "fp32, fp16".
    weights: their number.
    disk: bytes in the bundle.
    peak: bytes of memory of the exporting process.
    resident: bytes of memory when it runs on the CPU.
    gpu: bytes of the weights on a GPU when it runs there.
    seconds: of one core, for the export.
    scratch: bytes on disk that are removed when the component is done.
    """

    name: str
    precision: str
    weights: int
    disk: int
    peak: int
    resident: int
    gpu: int
    seconds: float
    scratch: int = 0


def estimate_export(
    checkpoint: Checkpoint,
    precisions: Precisions,
    only: Collection[str] | None = None,
    calibration: str | None = None,
    decoder_graph: bool = True,
) -> list[ExportEstimate]:
    """Estimates from the headers of weight files what the export of each component needs.

    checkpoint: the run.
    precisions: variants of every component.
    only: components to export; by default all that the run has, the VAE's encoder where videos are to be made
        from videos (`Checkpoint.video_to_video`).
    calibration: as in `quantisation.calibration.calibrate`.
    decoder_graph: whether the decoder's graph is kept beside its packed weights.

    ExportError: files are damaged, the run lacks a component of `only`, or `only` leaves out what videos
    from videos need.
    """
    if only is not None and checkpoint.video_to_video and OPTIONAL not in only:
        raise ExportError(f"--video-to-video writes {OPTIONAL}, which --component leaves out; name it too")
    shapes = read_shapes(checkpoint)
    counts = {name: sum(map(math.prod, found.values())) for name, found in shapes.items()}
    frames = checkpoint.compared_frames()
    in_place = checkpoint.has("encoder") and _is_published(checkpoint.parts["encoder"])
    pipeline = pipeline_of(checkpoint.parts["t2v"]) if checkpoint.has("t2v") else ""
    estimates = [
        _estimate_component(
            name,
            precisions[name],
            counts,
            _int8_weights(name, shapes[name]),
            frames,
            in_place,
            _table(checkpoint) if name == "text_encoder" else None,
            pipeline,
            _stays_in_files(checkpoint, name),
        )
        for name in counts
    ]
    videos = video_seconds(checkpoint, shapes)
    estimates = [replace(e, seconds=e.seconds + videos.get(e.name, 0)) for e in estimates]
    if checkpoint.has("llm"):
        decoder = _estimate_decoder(checkpoint.llm(), precisions["decoder"], calibration, decoder_graph)
        estimates.append(decoder)
    elif not decoder_graph:
        raise ExportError(
            f"{checkpoint.run}: has no language model, whose graph --no-decoder-graph leaves out"
        )
    if only is None and not checkpoint.video_to_video:
        estimates = [estimate for estimate in estimates if estimate.name != OPTIONAL]
    names = [estimate.name for estimate in estimates]
    for component in only or ():
        if component not in names:
            raise ExportError(f"{checkpoint.run}: has no {component} to export (only {', '.join(names)})")
    return [estimate for estimate in estimates if only is None or estimate.name in only]


def _is_published(folder: Path) -> bool:
    return is_mplug_owl(folder) or is_video_language(folder)


def _estimate_component(
    name: str,
    variants: Mapping[str, str],
    counts: Mapping[str, int],
    int8_weights: int,
    frames: int,
    in_place: bool,
    table: tuple[int, int] | None,
    pipeline: str,
    mapped: bool,
) -> ExportEstimate:
    """The estimate of a component other than the decoder.

    counts: weights of every component. int8_weights: those that int8 stores as bytes. frames: of a clip.
    in_place: whether the encoder is one of a published checkpoint. table: of a T5, as `_table` returns it.
    pipeline: that makes videos, as `pipeline_of` returns it. mapped: as `_stays_in_files` returns it.
    """
    weights = counts[name]
    disk = resident = peak = 0
    millions = weights / 1e6
    graph = millions * _GRAPH.get(name, _OTHERS)
    seconds, held = 0.0, {}
    if name == "encoder":
        graph *= (frames + 2) / 10
    elif name in _READS_FEATURES:
        seconds += counts["encoder"] / 1e6 * _FEATURES * (frames + 1) / 9
    elif name in ("unet", "transformer"):
        seconds += millions * _LATENTS
    for target, precision in variants.items():
        width, rows = _BYTES.get(precision, 2), 0
        size = width * weights - (3 * int8_weights if precision == "int8" else 0)
        if table is not None:  # of which few rows are read
            rows = min(width, table[1]) * table[0]
            size += rows - width * table[0]
        held[target] = size
        disk += size
        seconds += graph
        if target not in ENGINE_TARGETS:
            splits = target == CPU and name in _SPLIT_GEMM and "amx" in versions()
            split = _SPLIT_WEIGHTS.get(precision, 0) if splits else 0
            packed = 0 if table else split * weights or size
            resident += size - rows + packed if target == CPU else 0
            own = _IN_PLACE if in_place and name == "encoder" and not split else _CPU.get(name, _OTHERS_CPU)
            if name == "vae_decoder" and pipeline in _VIDEO_VAE:
                own = _VIDEO_VAE[pipeline]
            needed = float((own + split) * weights)
            if mapped:
                needed = max(_MAPPED * (size - rows), rows)
            peak = max(peak, int(_LIBRARIES + needed))
        else:
            seconds += _BUILD[0] + millions * _BUILD[1]
            scale = 2 if precision == "fp32" else 1
            needed = _ENGINE.get(name, _OTHERS_ENGINE) * scale * weights
            peak = max(peak, int(_LIBRARIES + _TENSORRT + needed))
    if name in _READS_FEATURES:
        read = (_IN_PLACE if in_place else _READ) * counts["encoder"]
        peak = max(peak, int(_LIBRARIES + max(_WHOLE * weights, read)))
    gpu = _on_gpu(held)
    return ExportEstimate(name, ", ".join(variants.values()), weights, disk, peak, resident, gpu, seconds)


def _stays_in_files(checkpoint: Checkpoint, name: str) -> bool:
    """Whether the weights of a component stay in their files during the export: those of T5 and of a video
    transformer in safetensors do, and pickles are loaded.
    """
    if name == "transformer":
        folder, stem = checkpoint.parts["t2v"] / name, "diffusion_pytorch_model"
    elif name == "text_encoder" and _table(checkpoint) is not None:
        folder, stem = checkpoint.parts["t2v"] / name, "model"
    else:
        return False
    return all(file.suffix == ".safetensors" for file in find_weight_files(folder, stem, checkpoint.variant))


def _table(checkpoint: Checkpoint) -> tuple[int, int] | None:
    """Numbers in the embedding of a T5 text encoder, and bytes of each in a bundle; None of another."""
    files = open_weights(checkpoint.parts["t2v"] / "text_encoder", "model", checkpoint.variant)
    for name in (t5.EMBEDDING, t5.SHARED):
        if name in files.shapes:
            return math.prod(files.shapes[name]), 2 if str(files.dtypes[name]) == "torch.bfloat16" else 4
    return None


def _on_gpu(held: Mapping[str, int]) -> int:
    """Bytes of the variant that a GPU runs: an engine, else the graph for CUDA, else that for the CPU."""
    engines = [size for target, size in held.items() if target in ENGINE_TARGETS]
    return engines[0] if engines else held.get(CUDA, next(iter(held.values())))


def _estimate_decoder(
    weights: LlamaWeights, variants: Mapping[str, str], calibration: str | None, decoder_graph: bool
) -> ExportEstimate:
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
    scratch = 0
    seconds, held = 0.0, {}
    made: set[str] = set()  # codes that another target's graph reads, too
    for target, precision in variants.items():
        width = 4 if target == CPU else 2
        graph, fitted = float(width * (rest + tables)), 0
        weights_read = graph  # with codes that are stored for another target
        allocation = BitAllocation(weights, precision) if precision in BITS else None
        for name, count in multiplied.items():
            kept = allocation is not None and allocation.keeps(name)
            fitted += 0 if kept else count
            # Codes of a file may have an offset beside the scale.
            scales = width * (2 if kept else 1) / BLOCK
            bits = 0 if allocation is None else allocation.bits(name)
            codes = bits / 8 if precision not in made else 0
            graph += count * (codes + scales if allocation else width)
            weights_read += count * (bits / 8 + scales if allocation else width)
        seconds += (products + embedding) / 1e6 * _DECODER[precision]
        how = (
            resolve_choice(weights, calibration) if allocation and fitted and precision not in made else NONE
        )
        if how != NONE:
            seconds += fitted / 1e6 * _GPTQ
            # The second moment of the widest inputs and two factors of it, in float64; those inputs, and what
            # they are made of.
            width, tokens = weights.config.intermediate_size, SEQUENCES * sequence_length(weights)
            peak += 24 * width**2 + 4 * tokens * (width + 2 * weights.config.hidden_size)
        if how == OWN:
            seconds += (products + embedding) / 1e6 * _OWN_TEXT
            eight_bits = BitAllocation(weights, WRITER)
            file = sum(_packed(weights, name, eight_bits) for name in names)
            peak = max(peak, int(_LIBRARIES + 4 * embedding + file))
        if decoder_graph:
            disk += int(graph)
        else:
            scratch += int(graph)
        held[target] = int(weights_read)
        if target == CPU:  # the core's own decoder maps its weights, and the graph stays closed
            packed = header_bytes(weights.config.num_hidden_layers) + 4 * rest
            packed += sum(_packed(weights, name, allocation) for name in names)
            disk, resident = disk + packed, resident + packed
        made |= {precision} if allocation else set()
    precisions = ", ".join(variants.values())
    return ExportEstimate(
        "decoder", precisions, sum(counts.values()), disk, peak, resident, _on_gpu(held), seconds, scratch
    )


def _packed(weights: LlamaWeights, name: str, allocation: BitAllocation | None) -> int:
    """Bytes of a matrix in the file of the core's own decoder; at most: where 16 bits hold it, half."""
    rows, columns = weights.shapes[f"{name}.weight"]
    rows = -(-rows // PANEL) * PANEL
    if allocation is None:
        return 4 * rows * columns
    blocks = -(-columns // BLOCK)
    scales = 4 if allocation.keeps(name) else 2  # codes of a file may have an offset beside the scale
    return rows * blocks * (BLOCK * allocation.bits(name) // 8 + scales)


def _int8_weights(component: str, shapes: Mapping[str, Sequence[int]]) -> int:
    """Number of weights that int8 of a component stores as bytes."""
    if component not in _INT8_MATRICES:
        return 0
    # A depthwise convolution is no product.
    matrices = {name: shape for name, shape in shapes.items() if len(shape) > 1 and shape[1] > 1}
    return sum(math.prod(shape) for name, shape in matrices.items() if _INT8_MATRICES[component].search(name))
