"""Compares every exported graph with PyTorch in float64, on seeded random inputs or on given ones.

Each verify function takes the module as it was exported and returns the worst error of the graph
`folder`/`stem`.onnx:

    without `feeds`   over random inputs that reach every path of the graph, as `relative_error`; of graphs
                      that compute in 16 or 8 bits (`is_coarse`) as `norm_error`
    with `feeds`      over these inputs, as `norm_error`; of the frame checker as `probability_error`

A module may come back in float64. The graph's session and the module in float64 are not in memory at the same
time, and of large modules one layer at a time is in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from g4v.export.errors import InaccurateError
from g4v.export.graph.onnx_file import OnnxFile
from g4v.export.graph.operators import INT8_MATMUL
from g4v.export.verify.error_measures import norm_error, probability_error, relative_error
from g4v.export.verify.float64 import feed_forwards, upcast_to_float64
from g4v.export.verify.half_precision import half_type
from g4v.export.verify.session import memory_of, open_for_comparison

# The largest error that is accepted. In `relative_error`: of float32 graphs, and of the abstractor in int8.
TOLERANCE = 1e-4
INT8_TOLERANCE = 2e-2
# In `norm_error`: of float16; of bfloat16, in which PyTorch's own modules come to 4e-2 (the encoder of tiny,
# on two random frames); of FP8, on real inputs; of other components in int8: in a trained encoder the largest
# differences are those of a few tokens whose attention turned elsewhere.
FLOAT16_TOLERANCE = 1e-2
BFLOAT16_TOLERANCE = 8e-2
FP8_TOLERANCE = 1e-1
INT8_NORM_TOLERANCE = 1e-1

_SEED = 20231125
_LARGE_TEXT_ENCODER = 10**9  # weights, above which random texts are fewer: of T5-XXL's size one takes minutes

Feeds = Sequence[Mapping[str, np.ndarray]]
"""Inputs of a graph by name, one mapping for each run; of an abstractor of two graphs those of the first."""
_Inputs = Sequence[Mapping[str, np.ndarray] | Mapping[str, torch.Tensor]]


def check(component: str, error: float, tolerance: float) -> None:
    """Raises InaccurateError if `error` is above `tolerance` or infinite. component: begins the message."""
    if error == float("inf"):
        raise InaccurateError(
            f"{component}: what the graph or PyTorch computes is not finite, or of another shape"
        )
    if not error <= tolerance:
        raise InaccurateError(
            f"{component}: the graph differs from PyTorch by {error:.1e} (at most {tolerance:.0e})"
        )


def is_coarse(path: Path) -> bool:
    """Whether the graph file `path` computes in 16 bits or with int8 activations.

    Of the latter those count that are quantised row by row or before a convolution.
    """
    graph = OnnxFile(path).graph
    return half_type(graph) is not None or any(node.op_type == INT8_MATMUL for node in graph.node)


def worst_error(
    folder: Path,
    stem: str,
    inputs: _Inputs,
    reference: Callable[..., torch.Tensor],
    error: Callable[[np.ndarray, torch.Tensor], float],
    before: str | None = None,
) -> float:
    """The largest error over several inputs of the graph. reference: computes the output in float64 from the
    same inputs by name, floating ones in float64. error: how the two are compared. before: the stem of a
    graph that takes the inputs, and whose output is then the graph's input.
    """
    found = [{name: np.asarray(value) for name, value in given.items()} for given in inputs]
    for each in filter(None, (before, stem)):
        session = open_for_comparison(folder, each)
        (output,) = (value.name for value in session.get_outputs())
        found = [{output: session.run(None, given)[0]} for given in found]
        del session
    wanted = (
        reference(**{name: _upcast(torch.as_tensor(value)) for name, value in given.items()})
        for given in inputs
    )
    if error is relative_error and is_coarse(folder / f"{stem}.onnx"):
        error = norm_error
    return max(error(a[output], b) for a, b in zip(found, wanted, strict=True))


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(_SEED)


def error_of(feeds: Feeds) -> Callable[[np.ndarray, torch.Tensor], float]:
    """How a graph's output is compared on `feeds`, or without any on random inputs."""
    return norm_error if feeds else relative_error


def _upcast(value: torch.Tensor) -> torch.Tensor:
    return value.double() if value.is_floating_point() else value


@torch.no_grad()
def verify_encoder(
    encoder: Any, folder: Path, frames: int, stem: str = "encoder", feeds: Feeds = ()
) -> float:
    """Compares the vision encoder's graph. frames: of a clip; random clips have 1, 2 and so many frames."""
    size = encoder.image_size
    inputs: _Inputs = feeds or [
        {"pixel_values": torch.randn(count, 3, size, size, generator=_random())}
        for count in sorted({1, 2, frames})
    ]
    with upcast_to_float64(encoder):
        return worst_error(folder, stem, inputs, lambda pixel_values: encoder(pixel_values), error_of(feeds))


@torch.no_grad()
def verify_abstractor(
    abstractor: Any,
    folder: Path,
    frames: int,
    tokens: int,
    stem: str = "abstractor",
    feeds: Feeds = (),
) -> float:
    """Compares the abstractor's graph. frames: of a clip; tokens: of the encoder for one frame."""
    inputs: _Inputs = feeds or [
        {"features": torch.randn(count, tokens, abstractor.config.hidden_size, generator=_random())}
        for count in sorted({1, 2, frames})
    ]
    abstractor = abstractor.double()
    memory = memory_of(folder, stem)
    return worst_error(
        folder, stem, inputs, lambda features: abstractor(features[None])[0], error_of(feeds), memory
    )


@torch.no_grad()
def verify_frame_checker(
    checker: Any,
    folder: Path,
    frames: int,
    tokens: int,
    stem: str = "frame_checker",
    feeds: Feeds = (),
) -> float:
    """Compares the frame checker's graph. frames: of a clip; tokens: of the encoder for one frame."""
    inputs: _Inputs = feeds or [
        {"features": torch.randn(count, tokens, checker.config.hidden_size, generator=_random())}
        for count in sorted({1, frames})
    ]
    checker = checker.double()
    return worst_error(
        folder,
        stem,
        inputs,
        lambda features: checker(features),
        probability_error if feeds else relative_error,
    )


@torch.no_grad()
def verify_text_encoder(
    model: Any, folder: Path, stem: str = "text_encoder", feeds: Feeds = (), length: int | None = None
) -> float:
    """Compares the text encoder's graph. length: tokens of a text at most; None: the model's positions."""
    generator, random = _random(), []
    length = length or int(model.config.max_position_embeddings)
    masked = "attention_mask" in _input_types(folder / f"{stem}.onnx")
    large = sum(weight.numel() for weight in model.parameters()) > _LARGE_TEXT_ENCODER
    for batch, tokens in ((1, length), (2, 5)) if large else ((2, length), (1, min(5, length))):
        given = {"input_ids": torch.randint(model.config.vocab_size, (batch, tokens), generator=generator)}
        if masked:
            used = torch.randint(1, tokens + 1, (batch, 1), generator=generator)
            given["attention_mask"] = (torch.arange(tokens) < used).long()
        random.append(given)
    with upcast_to_float64(model, whole=feed_forwards(model)):
        return worst_error(
            folder, stem, feeds or random, lambda **given: model(**given).last_hidden_state, error_of(feeds)
        )


def _input_types(graph: Path) -> dict[str, int]:
    """The types of a graph's inputs, as in TensorProto, by name."""
    inputs = onnx.load(graph, load_external_data=False).graph.input
    return {value.name: value.type.tensor_type.elem_type for value in inputs}


@torch.no_grad()
def verify_unet(
    model: Any, folder: Path, length: int, size: int, stem: str = "unet", feeds: Feeds = ()
) -> float:
    """Compares the UNet's graph. length: tokens of a text; size: edge of the square random latents."""
    generator, random = _random(), []
    for batch, frames, height, width, step in (
        (2, 4, size, size, 980.5),
        (1, 1, size, size + size // 2, 0.0),
    ):
        sample = torch.randn(batch, model.config.in_channels, frames, height, width, generator=generator)
        text = torch.randn(batch, length, model.config.cross_attention_dim, generator=generator)
        random.append({"sample": sample, "timestep": torch.tensor([step]), "encoder_hidden_states": text})
    inputs: _Inputs = feeds or random
    if _reads_whole_timesteps(folder / f"{stem}.onnx"):
        arrays = [{name: np.asarray(value) for name, value in given.items()} for given in inputs]
        inputs = [given | {"timestep": given["timestep"].round().astype(np.int64)} for given in arrays]
    with upcast_to_float64(model):
        return worst_error(folder, stem, inputs, lambda **given: model(**given).sample, error_of(feeds))


def _reads_whole_timesteps(graph: Path) -> bool:
    """Whether a UNet's graph takes its time step as int64, as those of older bundles do."""
    return _input_types(graph)["timestep"] == onnx.TensorProto.INT64


@torch.no_grad()
def verify_transformer(
    model: Any, folder: Path, length: int, size: int, stem: str = "transformer", feeds: Feeds = ()
) -> float:
    """Compares the video transformer's graph. length: tokens of a text; size: edge of the square random
    latents in patches.

    diffusers' module computes norms and residual sums in float32 whatever its weights are, so that its own
    rounding, about 1e-7 a block, is in the error.
    """
    config, generator, random = model.config, _random(), []
    deep, high, wide = config.patch_size
    for batch, frames, height, width, step in ((2, 3, size, size, 980.5), (1, 1, size, size // 2 + 1, 0.0)):
        shape = (batch, config.in_channels, frames * deep, height * high, width * wide)
        text = torch.randn(batch, length, config.text_dim, generator=generator)
        sample = torch.randn(shape, generator=generator)
        random.append({"sample": sample, "timestep": torch.tensor([step]), "encoder_hidden_states": text})
    inputs: _Inputs = feeds or random

    def predicted(sample: torch.Tensor, timestep: torch.Tensor, **text: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model(sample, timestep.expand(len(sample)), **text).sample
        return found

    with upcast_to_float64(model):
        return worst_error(folder, stem, inputs, predicted, error_of(feeds))


@torch.no_grad()
def verify_vae_encoder(
    model: Any, folder: Path, size: int, stem: str = "vae_encoder", feeds: Feeds = ()
) -> float:
    """Compares the VAE encoder's graph. size: edge of the square images of random inputs."""
    generator = _random()
    inputs: _Inputs = feeds or [
        {"images": torch.rand(frames, model.config.in_channels, height, width, generator=generator) * 2 - 1}
        for frames, height, width in ((2, size, size), (1, size, size // 2))
    ]

    def moments(images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model.encode(images).latent_dist.parameters
        return found

    with upcast_to_float64(model):
        return worst_error(folder, stem, inputs, moments, error_of(feeds))


@torch.no_grad()
def verify_vae_decoder(
    model: Any, folder: Path, size: int, stem: str = "vae_decoder", feeds: Feeds = ()
) -> float:
    """Compares the VAE decoder's graph. size: edge of the square latents of random inputs."""
    generator = _random()
    inputs: _Inputs = feeds or [
        {"latents": torch.randn(frames, model.config.latent_channels, height, width, generator=generator)}
        for frames, height, width in ((3, size, size), (1, size, size // 2))
    ]
    with upcast_to_float64(model):
        return worst_error(
            folder,
            stem,
            inputs,
            lambda latents: model.decode(latents).sample.clamp(-1.0, 1.0),
            error_of(feeds),
        )
