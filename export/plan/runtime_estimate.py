"""Estimates a bundle's memory on a GPU, and its time on this CPU and on an assumed GPU.

Operations are counted from the shapes of the weights: every weight of a matrix is multiplied once for each
position that it sees. Attention between positions, norms and activations are not counted; the speeds of
machines (`this_cpu`, `ASSUMED_GPU`) are what they reach in practice, which leaves room for them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from g4v._console import duration
from g4v._files import read_json
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.video_sizes import vae_scale
from g4v.export.components.text_to_video import text_length
from g4v.export.errors import ExportError
from g4v.export.plan.export_estimate import ExportEstimate
from g4v.export.plan.operations import convolved
from g4v.export.plan.tensor_shapes import read_shapes
from g4v.export.plan.transformer_operations import TransformerVideo
from g4v.export.report.units import size

# Of the speed of a large product what whole float32 graphs reach at least: ViT-L/14 0.68 of it, a UNet of
# ZeroScope's widths 0.58 (benchmarks/results/eight-bit.json).
_PART_OF_PRODUCTS = 0.5
# A GPU of the middle range, of which the products of whole graphs get so much.
_ASSUMED_PRODUCTS, _ASSUMED_BYTES = 30e12, 400e9  # per second: float16 operations, bytes read from its memory
ASSUMED = "a GPU of 30 TFLOP/s and 400 GB/s in practice (assumed, none is asked)"
_CONTEXT = 0.8e9  # bytes of a GPU that CUDA and the libraries take
_PROMPT = 128  # tokens of a question and of what stands around it
_MAPS = 8  # largest feature maps that live at once in a UNet, a transformer or a VAE, in float16


@dataclass(frozen=True)
class Machine:
    """Speed of a processor in practice.

    flops: floating-point operations of matrix products per second.
    bandwidth: bytes that are read from memory per second.
    """

    flops: float
    bandwidth: float


def this_cpu() -> Machine:
    """Measures this CPU in half a second: by a product of float32 matrices and by a sum over memory."""
    matrix = np.ones((1024, 1024), np.float32)
    values = np.ones(1 << 25, np.float32)  # 128 MiB, more than caches hold
    product = min(_timed(lambda: matrix @ matrix) for _ in range(4))
    total = min(_timed(values.sum) for _ in range(4))
    return Machine(_PART_OF_PRODUCTS * 2 * 1024**3 / product, values.nbytes / total)


ASSUMED_GPU = Machine(_ASSUMED_PRODUCTS, _ASSUMED_BYTES)


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return max(time.perf_counter() - start, 1e-9)


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{max(1, round(1000 * seconds))} ms"
    return duration(seconds) if seconds >= 10 else f"{seconds:.1f} s"


def _rate(value: float) -> str:
    """Two digits that count: 0.52, 6.5, 650, 41,000."""
    return f"{float(f'{value:.2g}'):,g}"


@dataclass(frozen=True)
class RunEstimate:
    """What an assistant is estimated to need when it runs. None where it lacks the components.

    question: operations up to the first token of an answer about a video.
    token: bytes that the decoder reads for each further token.
    video: operations of a whole video that is made.
    frames, steps: of that video.
    cache: bytes of the KV cache in float16.
    activations: bytes of the largest activations that live at once, in float16.
    """

    question: float | None
    token: float | None
    video: float | None
    frames: int
    steps: int
    cache: float
    activations: float

    def line(self, machine: Machine, where: str) -> str:
        """Returns the times on a machine as a line for a person; `where` names the machine."""
        parts = []
        if self.question is not None:
            parts.append(f"first token about a video {_time(self.question / machine.flops)}")
        if self.token is not None:
            parts.append(f"{_rate(machine.bandwidth / self.token)} tokens/s at most")
        if self.video is not None:
            made = f"video of {self.frames} frames in {self.steps} steps"
            parts.append(f"{made} {_time(self.video / machine.flops)}")
        return f"time of a run on {where}: {', '.join(parts)}"


def describe_run(checkpoint: Checkpoint, estimates: Sequence[ExportEstimate], gpu: bool = True) -> list[str]:
    """Returns lines for a person that say what these components need when they run: memory and times.

    gpu: whether a GPU can run all of them.
    """
    names = {estimate.name: estimate for estimate in estimates}
    shapes = {name: found for name, found in read_shapes(checkpoint).items() if name in names}
    run = estimate_run(checkpoint, shapes, names.get("decoder"))
    memory = _CONTEXT + sum(estimate.gpu for estimate in estimates) + run.cache + run.activations
    lines = [f"memory of the assistant on a GPU: about {size(memory)}"] if gpu else []
    if (run.question, run.token, run.video) != (None, None, None):
        lines.append(run.line(this_cpu(), "this CPU"))
        lines += [run.line(ASSUMED_GPU, ASSUMED)] if gpu else []
    return lines


def estimate_run(
    checkpoint: Checkpoint, shapes: Mapping[str, Mapping[str, Sequence[int]]], decoder: ExportEstimate | None
) -> RunEstimate:
    """Estimates what an assistant needs when it runs.

    shapes: of the tensors of each component, as `read_shapes` returns them; components that are missing in it
        do not run.
    decoder: estimate of the decoder's export; None without a decoder.
    """
    question = token = video = None
    cache = activations = 0.0
    if "encoder" in shapes and "abstractor" in shapes and decoder is not None:
        seen = int(checkpoint.about["frames"]) * checkpoint.tokens_per_frame()
        tokens = checkpoint.video_tokens()
        if checkpoint.has_frame_tokens():
            tokens *= int(checkpoint.about["frames"])
        question = 2.0 * seen * (_sum(shapes["encoder"]) + _sum(shapes["abstractor"]))
        question += 2.0 * decoder.weights * (_PROMPT + tokens)
    if decoder is not None:
        config = checkpoint.llm().config
        width = config.num_key_value_heads * config.head_dim
        cache = 2.0 * 2 * config.num_hidden_layers * width * config.max_position_embeddings
        token = float(decoder.gpu)
    settings = checkpoint.about["generation"].get("video", {})
    made, steps = int(settings.get("frames", 8)), int(settings.get("steps", 20))
    guided = 1 if settings.get("guidance_scale") == 1.0 else 2
    if {"text_encoder", "transformer", "vae_decoder"} <= set(shapes):
        sizes, length = TransformerVideo(checkpoint), text_length(checkpoint)
        video = steps * guided * sizes.step(shapes["transformer"], length)
        video += sizes.decoding(shapes["vae_decoder"]) + 2.0 * guided * length * _sum(shapes["text_encoder"])
        activations = 2.0 * _MAPS * max(guided * sizes.tokens * sizes.width, sizes.chunk_pixels * sizes.base)
    if {"text_encoder", "unet", "vae_decoder"} <= set(shapes):
        scale = vae_scale(checkpoint.parts["t2v"])
        pixels = int(settings.get("height", 64)) * int(settings.get("width", 64))
        latents = pixels / scale**2
        unet, vae = (
            read_json(checkpoint.parts["t2v"] / part / "config.json", ExportError)["block_out_channels"]
            for part in ("unet", "vae")
        )
        step = guided * made * convolved(shapes["unet"], len(unet), latents)
        video = steps * step + made * convolved(shapes["vae_decoder"], len(vae), pixels)
        video += 2.0 * guided * text_length(checkpoint) * _sum(shapes["text_encoder"])
        activations = 2.0 * _MAPS * max(guided * made * latents * unet[0], pixels * vae[0])
    return RunEstimate(question, token, video, made, steps, cache, activations)


def _sum(tensors: Mapping[str, Sequence[int]]) -> int:
    return sum(map(math.prod, tensors.values()))
