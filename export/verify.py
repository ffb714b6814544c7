"""Compares every exported graph with PyTorch in float64, on seeded random input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from g4v.export.abstractor import memory_stem
from g4v.export.errors import ExportError
from g4v.export.wide import in_float64

from g4v.ops import custom_ops_library

TOLERANCE = 1e-4  # largest relative error of a float32 graph
HALF_TOLERANCE = 1e-2  # and of a float16 one
EIGHT_BIT_TOLERANCE = 2e-2  # and of one that rounds activations to 8 bits
_SEED = 20231125


def relative_error(actual: np.ndarray, expected: torch.Tensor) -> float:
    """The largest absolute difference over the largest expected value; infinite for NaN or a wrong shape."""
    wanted = expected.detach().double().numpy()
    if actual.shape != wanted.shape or not np.isfinite(actual).all():
        return float("inf")
    return float(np.abs(actual - wanted).max() / np.abs(wanted).max())


def check(component: str, error: float, most: float) -> None:
    """ExportError if the error is beyond the tolerance."""
    if not error <= most:
        raise ExportError(f"{component}: the graph differs from PyTorch by {error:.1e} (at most {most:.0e})")


def _session(folder: Path, stem: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.register_custom_ops_library(custom_ops_library())
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if "." in stem:
        # Not what the CPU will run, but what an engine is built from: compared as it is written. Each weight
        # is then widened when it is used, where the optimiser would hold all of them.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(folder / f"{stem}.onnx", options, providers=["CPUExecutionProvider"])


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED)


# Each function takes the module as it was exported and returns the worst error of the graph `stem` over
# inputs that reach every path of it. The graph's session and the module in float64 are not in memory at the
# same time, and of large modules one layer is in float64 at a time.


def _worst(
    folder: Path,
    stem: str,
    inputs: Sequence[dict[str, torch.Tensor]],
    expected: Callable[..., torch.Tensor],
    before: str | None = None,
) -> float:
    """The largest error over several inputs of the graph. expected: the output in float64 for the same
    inputs by name, floating ones in float64. before: a graph that the inputs go to in its place, and whose
    output is then its input.
    """
    found = [{name: value.numpy() for name, value in given.items()} for given in inputs]
    for each in filter(None, (before, stem)):
        session = _session(folder, each)
        (output,) = (value.name for value in session.get_outputs())
        found = [{output: session.run(None, given)[0]} for given in found]
        del session
    wanted = (
        expected(**{k: v.double() if v.is_floating_point() else v for k, v in given.items()})
        for given in inputs
    )
    return max(relative_error(a[output], b) for a, b in zip(found, wanted, strict=True))


@torch.no_grad()
def verify_encoder(encoder: Any, folder: Path, frames: int, stem: str = "encoder") -> float:
    size = encoder.image_size
    inputs = [
        {"pixel_values": torch.randn(count, 3, size, size, generator=_random())}
        for count in sorted({1, 2, frames})
    ]
    with in_float64(encoder):
        return _worst(folder, stem, inputs, lambda pixel_values: encoder(pixel_values))


@torch.no_grad()
def verify_abstractor(
    abstractor: Any, folder: Path, frames: int, tokens: int, stem: str = "abstractor"
) -> float:
    inputs = [
        {"features": torch.randn(count, tokens, abstractor.config.hidden_size, generator=_random())}
        for count in sorted({1, 2, frames})
    ]
    abstractor = abstractor.double()
    memory: str | None = memory_stem(stem)
    if not (folder / f"{memory}.onnx").exists():
        memory = None
    return _worst(folder, stem, inputs, lambda features: abstractor(features[None])[0], memory)


@torch.no_grad()
def verify_frame_checker(
    checker: Any, folder: Path, frames: int, tokens: int, stem: str = "frame_checker"
) -> float:
    inputs = [
        {"features": torch.randn(count, tokens, checker.config.hidden_size, generator=_random())}
        for count in sorted({1, frames})
    ]
    checker = checker.double()
    return _worst(folder, stem, inputs, lambda features: checker(features))


@torch.no_grad()
def verify_text_encoder(model: Any, folder: Path, stem: str = "text_encoder") -> float:
    inputs = [
        {"input_ids": torch.randint(model.config.vocab_size, (batch, length), generator=_random())}
        for batch, length in ((2, model.config.max_position_embeddings), (1, 5))
    ]
    with in_float64(model):
        return _worst(folder, stem, inputs, lambda input_ids: model(input_ids).last_hidden_state)


@torch.no_grad()
def verify_unet(model: Any, folder: Path, length: int, size: int, stem: str = "unet") -> float:
    """`length`: positions of the text; `size`: edge of the square latents."""
    generator, inputs = _random(), []
    for batch, frames, height, width, step in ((2, 4, size, size, 981), (1, 1, size, size + size // 2, 0)):
        sample = torch.randn(batch, model.config.in_channels, frames, height, width, generator=generator)
        text = torch.randn(batch, length, model.config.cross_attention_dim, generator=generator)
        inputs.append({"sample": sample, "timestep": torch.tensor([step]), "encoder_hidden_states": text})
    with in_float64(model):
        return _worst(folder, stem, inputs, lambda **given: model(**given).sample)


@torch.no_grad()
def verify_vae_decoder(model: Any, folder: Path, size: int, stem: str = "vae_decoder") -> float:
    generator = _random()
    inputs = [
        {"latents": torch.randn(frames, model.config.latent_channels, height, width, generator=generator)}
        for frames, height, width in ((3, size, size), (1, size, size // 2))
    ]
    with in_float64(model):
        return _worst(folder, stem, inputs, lambda latents: model.decode(latents).sample.clamp(-1.0, 1.0))
