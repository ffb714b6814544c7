"""Compares every exported graph with PyTorch in float64, on seeded random input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from g4v.export.errors import ExportError

from g4v.ops import custom_ops_library

TOLERANCE = 1e-4  # largest relative error of a float32 graph
HALF_TOLERANCE = 1e-2  # and of a float16 one
_SEED = 20231125


def relative_error(actual: np.ndarray, expected: torch.Tensor) -> float:
    """The largest absolute difference over the largest expected value; infinite for NaN or a wrong shape."""
    wanted = expected.detach().double().numpy()
    if actual.shape != wanted.shape or not np.isfinite(actual).all():
        return float("inf")
    return float(np.abs(actual - wanted).max() / np.abs(wanted).max())


def check(component: str, error: float, precision: str) -> None:
    """ExportError if the error is beyond the tolerance of graphs that compute in `precision`."""
    most = HALF_TOLERANCE if precision == "fp16" else TOLERANCE
    if not error <= most:
        raise ExportError(f"{component}: the graph differs from PyTorch by {error:.1e} (at most {most:.0e})")


def _session(folder: Path, stem: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.register_custom_ops_library(custom_ops_library())
    return onnxruntime.InferenceSession(folder / f"{stem}.onnx", options, providers=["CPUExecutionProvider"])


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED)


# Each function takes the module as it was exported (float32; it comes back in float64) and returns the worst
# error of the graph `stem` over inputs that reach every path of it.


@torch.no_grad()
def verify_encoder(encoder: Any, folder: Path, frames: int, stem: str = "encoder") -> float:
    session, encoder = _session(folder, stem), encoder.double()
    errors = []
    for count in sorted({1, 2, frames}):
        size = encoder.image_size
        pixels = torch.randn(count, 3, size, size, generator=_random())
        (features,) = session.run(None, {"pixel_values": pixels.numpy()})
        errors.append(relative_error(features, encoder(pixels.double())))
    return max(errors)


@torch.no_grad()
def verify_abstractor(
    abstractor: Any, folder: Path, frames: int, tokens: int, stem: str = "abstractor"
) -> float:
    session, abstractor = _session(folder, stem), abstractor.double()
    errors = []
    for count in sorted({1, 2, frames}):
        features = torch.randn(count, tokens, abstractor.config.hidden_size, generator=_random())
        (output,) = session.run(None, {"features": features.numpy()})
        errors.append(relative_error(output, abstractor(features[None].double())[0]))
    return max(errors)


@torch.no_grad()
def verify_frame_checker(
    checker: Any, folder: Path, frames: int, tokens: int, stem: str = "frame_checker"
) -> float:
    session, checker = _session(folder, stem), checker.double()
    errors = []
    for count in sorted({1, frames}):
        features = torch.randn(count, tokens, checker.config.hidden_size, generator=_random())
        (output,) = session.run(None, {"features": features.numpy()})
        errors.append(relative_error(output, checker(features.double())))
    return max(errors)


@torch.no_grad()
def verify_text_encoder(model: Any, folder: Path, stem: str = "text_encoder") -> float:
    session, model = _session(folder, stem), model.double()
    errors = []
    for batch, length in ((2, model.config.max_position_embeddings), (1, 5)):
        ids = torch.randint(model.config.vocab_size, (batch, length), generator=_random())
        (hidden,) = session.run(None, {"input_ids": ids.numpy()})
        errors.append(relative_error(hidden, model(ids).last_hidden_state))
    return max(errors)


@torch.no_grad()
def verify_unet(model: Any, folder: Path, length: int, size: int, stem: str = "unet") -> float:
    """`length`: positions of the text; `size`: edge of the square latents."""
    session, model = _session(folder, stem), model.double()
    generator, errors = _random(), []
    for batch, frames, height, width, step in ((2, 4, size, size, 981), (1, 1, size, size + size // 2, 0)):
        sample = torch.randn(batch, model.config.in_channels, frames, height, width, generator=generator)
        text = torch.randn(batch, length, model.config.cross_attention_dim, generator=generator)
        (prediction,) = session.run(
            None,
            {
                "sample": sample.numpy(),
                "timestep": np.array([step], np.int64),
                "encoder_hidden_states": text.numpy(),
            },
        )
        expected = model(sample.double(), torch.tensor([step]), text.double()).sample
        errors.append(relative_error(prediction, expected))
    return max(errors)


@torch.no_grad()
def verify_vae_decoder(model: Any, folder: Path, size: int, stem: str = "vae_decoder") -> float:
    session, model = _session(folder, stem), model.double()
    generator, errors = _random(), []
    for frames, height, width in ((3, size, size), (1, size, size // 2)):
        latents = torch.randn(frames, model.config.latent_channels, height, width, generator=generator)
        (images,) = session.run(None, {"latents": latents.numpy()})
        errors.append(relative_error(images, model.decode(latents.double()).sample.clamp(-1.0, 1.0)))
    return max(errors)
