"""Compares every exported graph with PyTorch in float64, on seeded random input or on given ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g4v.export.errors import InaccurateError
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.graph.operators import INT8_MATMUL
from g4v.export.graph.stems import memory_stem
from g4v.export.verify.float64 import in_float64
from g4v.export.verify.half_precision import emulated, half_type
from g4v.ops import custom_ops_library

TOLERANCE = 1e-4  # largest relative error of a float32 graph
FLOAT16_TOLERANCE = 1e-2  # and of a float16 one, as `norm_error` has it
# And of a bfloat16 one, as `norm_error` has it. PyTorch's own modules, run in bfloat16, come to 4e-2 (the
# encoder of tiny, on two random frames).
BFLOAT16_TOLERANCE = 8e-2
FP8_TOLERANCE = 1e-1  # and of an FP8 one, on real inputs, as `norm_error` has it
INT8_TOLERANCE = 2e-2  # and of an abstractor in dynamic int8
# And of another component in dynamic int8, as `norm_error` has it: of a trained encoder the largest of all
# differences is of a few tokens whose attention turned elsewhere.
INT8_NORM_TOLERANCE = 1e-1
_SEED = 20231125

Feeds = Sequence[Mapping[str, np.ndarray]]
"""Inputs of a graph by name, one for each run; of an abstractor of two graphs those of the first."""


def relative_error(actual: np.ndarray, expected: torch.Tensor) -> float:
    """The largest absolute difference over the largest expected value; infinite for NaN or a wrong shape."""
    wanted = expected.detach().double().numpy()
    if not _comparable(actual, wanted):
        return float("inf")
    return float(np.abs(actual - wanted).max() / np.abs(wanted).max())


def norm_error(actual: np.ndarray, expected: torch.Tensor) -> float:
    """The norm of the difference over that of the expected values; infinite for NaN or a wrong shape.

    For real inputs and graphs of coarse types: of a trained model some few values are far worse conditioned
    than the rest in any type (a sharp attention may turn to another token), and say little of the graph.
    """
    wanted = expected.detach().double().numpy()
    if not _comparable(actual, wanted):
        return float("inf")
    return float(np.linalg.norm(actual - wanted) / np.linalg.norm(wanted))


def probability_error(actual: np.ndarray, expected: torch.Tensor) -> float:
    """The largest difference of probabilities, however small they are; infinite as above."""
    wanted = expected.detach().double().numpy()
    if not _comparable(actual, wanted):
        return float("inf")
    return float(np.abs(actual - wanted).max())


def _comparable(actual: np.ndarray, wanted: np.ndarray) -> bool:
    return actual.shape == wanted.shape and bool(np.isfinite(actual).all() and np.isfinite(wanted).all())


def check(component: str, error: float, most: float) -> None:
    """InaccurateError if the error is beyond the tolerance."""
    if error == float("inf"):
        raise InaccurateError(
            f"{component}: what the graph or PyTorch computes is not finite, or of another shape"
        )
    if not error <= most:
        raise InaccurateError(
            f"{component}: the graph differs from PyTorch by {error:.1e} (at most {most:.0e})"
        )


def open_session(path: Path, as_written: bool) -> Any:
    """A session of ONNX Runtime's CPU provider with g4v's operators. as_written: without any change of the
    graph; each weight is then converted when it is used, where the optimiser would hold all of them.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.register_custom_ops_library(custom_ops_library())
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Every input has its own shapes; from the second run on a pattern would hold all of its memory at once.
    options.enable_mem_pattern = False
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _session(folder: Path, stem: str) -> Any:
    """Of a graph for the CPU as the CPU will run it; of one for a GPU, or from which an engine is built, as
    that computes it.
    """
    with emulated(folder / f"{stem}.onnx") as path:
        return open_session(path, as_written="." in stem)


def is_coarse(path: Path) -> bool:
    """Whether a graph computes in 16 bits, or in dynamic int8 per token or in convolutions."""
    graph = OnnxFile(path).graph
    return half_type(graph) is not None or any(node.op_type == INT8_MATMUL for node in graph.node)


def memory_of(folder: Path, stem: str) -> str | None:
    """The graph that an abstractor's `stem` gets its input from, None where `stem` reads features itself."""
    memory = memory_stem(stem)
    return memory if (folder / f"{memory}.onnx").exists() else None


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED)


# Each function takes the module as it was exported and returns the worst error of the graph `stem` over
# random inputs that reach every path of it, as `relative_error` has it; or, where `feeds` are given, over
# these, as `norm_error` has it (of the frame checker `probability_error`). The graph's session and the module
# in float64 are not in memory at the same time, and of large modules one layer is in float64 at a time.


def _worst(
    folder: Path,
    stem: str,
    inputs: Sequence[Mapping[str, torch.Tensor | np.ndarray]],
    expected: Callable[..., torch.Tensor],
    error: Callable[[np.ndarray, torch.Tensor], float],
    before: str | None = None,
) -> float:
    """The largest error over several inputs of the graph. expected: the output in float64 for the same
    inputs by name, floating ones in float64. error: how the two are compared. before: a graph that the inputs
    go to in its place, and whose output is then its input.
    """
    found = [{name: np.asarray(value) for name, value in given.items()} for given in inputs]
    for each in filter(None, (before, stem)):
        session = _session(folder, each)
        (output,) = (value.name for value in session.get_outputs())
        found = [{output: session.run(None, given)[0]} for given in found]
        del session
    wanted = (
        expected(**{name: _wide(torch.as_tensor(value)) for name, value in given.items()}) for given in inputs
    )
    if error is relative_error and is_coarse(folder / f"{stem}.onnx"):
        error = norm_error
    return max(error(a[output], b) for a, b in zip(found, wanted, strict=True))


def _error(feeds: Feeds) -> Callable[[np.ndarray, torch.Tensor], float]:
    return norm_error if feeds else relative_error


def _wide(value: torch.Tensor) -> torch.Tensor:
    return value.double() if value.is_floating_point() else value


@torch.no_grad()
def verify_encoder(
    encoder: Any, folder: Path, frames: int, stem: str = "encoder", feeds: Feeds = ()
) -> float:
    size = encoder.image_size
    inputs = feeds or [
        {"pixel_values": torch.randn(count, 3, size, size, generator=_random())}
        for count in sorted({1, 2, frames})
    ]
    with in_float64(encoder):
        return _worst(folder, stem, inputs, lambda pixel_values: encoder(pixel_values), _error(feeds))


@torch.no_grad()
def verify_abstractor(
    abstractor: Any,
    folder: Path,
    frames: int,
    tokens: int,
    stem: str = "abstractor",
    feeds: Feeds = (),
) -> float:
    inputs = feeds or [
        {"features": torch.randn(count, tokens, abstractor.config.hidden_size, generator=_random())}
        for count in sorted({1, 2, frames})
    ]
    abstractor = abstractor.double()
    memory = memory_of(folder, stem)
    return _worst(folder, stem, inputs, lambda features: abstractor(features[None])[0], _error(feeds), memory)


@torch.no_grad()
def verify_frame_checker(
    checker: Any,
    folder: Path,
    frames: int,
    tokens: int,
    stem: str = "frame_checker",
    feeds: Feeds = (),
) -> float:
    inputs = feeds or [
        {"features": torch.randn(count, tokens, checker.config.hidden_size, generator=_random())}
        for count in sorted({1, frames})
    ]
    checker = checker.double()
    return _worst(
        folder,
        stem,
        inputs,
        lambda features: checker(features),
        probability_error if feeds else relative_error,
    )


@torch.no_grad()
def verify_text_encoder(model: Any, folder: Path, stem: str = "text_encoder", feeds: Feeds = ()) -> float:
    inputs = feeds or [
        {"input_ids": torch.randint(model.config.vocab_size, (batch, length), generator=_random())}
        for batch, length in ((2, model.config.max_position_embeddings), (1, 5))
    ]
    with in_float64(model):
        return _worst(
            folder, stem, inputs, lambda input_ids: model(input_ids).last_hidden_state, _error(feeds)
        )


@torch.no_grad()
def verify_unet(
    model: Any, folder: Path, length: int, size: int, stem: str = "unet", feeds: Feeds = ()
) -> float:
    """`length`: positions of the text; `size`: edge of the square latents."""
    generator, random = _random(), []
    for batch, frames, height, width, step in ((2, 4, size, size, 981), (1, 1, size, size + size // 2, 0)):
        sample = torch.randn(batch, model.config.in_channels, frames, height, width, generator=generator)
        text = torch.randn(batch, length, model.config.cross_attention_dim, generator=generator)
        random.append({"sample": sample, "timestep": torch.tensor([step]), "encoder_hidden_states": text})
    inputs = feeds or random
    with in_float64(model):
        return _worst(folder, stem, inputs, lambda **given: model(**given).sample, _error(feeds))


@torch.no_grad()
def verify_vae_decoder(
    model: Any, folder: Path, size: int, stem: str = "vae_decoder", feeds: Feeds = ()
) -> float:
    generator = _random()
    inputs = feeds or [
        {"latents": torch.randn(frames, model.config.latent_channels, height, width, generator=generator)}
        for frames, height, width in ((3, size, size), (1, size, size // 2))
    ]
    with in_float64(model):
        return _worst(
            folder, stem, inputs, lambda latents: model.decode(latents).sample.clamp(-1.0, 1.0), _error(feeds)
        )
