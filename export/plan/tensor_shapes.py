"""Shapes of a run's weights, taken from the headers of its weight files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from g4v.export.checkpoint.pipelines import denoiser_of
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.mplug_owl import is_mplug_owl, open_mplug_owl
from g4v.model.bases.video_language import is_video_language, open_video_language
from g4v.model.bases.weight_files import open_weights


def read_shapes(checkpoint: Checkpoint) -> dict[str, dict[str, Sequence[int]]]:
    """Returns the shape of each tensor of every component but the decoder: component -> tensor -> shape.

    ExportError: files are missing or damaged.
    """
    parts: list[tuple[str, Path, str]] = []  # component, folder, prefix of its tensors
    if checkpoint.has("encoder"):
        parts += [("encoder", checkpoint.parts["encoder"], "")]
        parts += [("abstractor", checkpoint.parts["abstractor"], "")]
    if checkpoint.has("t2v"):
        folder = checkpoint.parts["t2v"]
        denoiser = denoiser_of(folder)
        parts += [("text_encoder", folder / "text_encoder", ""), (denoiser, folder / denoiser, "")]
        parts += [("vae_decoder", folder / "vae", "decoder.")]
        if denoiser == "unet":
            parts += [("vae_encoder", folder / "vae", "encoder.")]
    if checkpoint.has("frame_checker"):
        parts += [("frame_checker", checkpoint.parts["frame_checker"], "")]
    return {name: _shapes(name, folder, prefix, checkpoint.variant) for name, folder, prefix in parts}


def _shapes(component: str, folder: Path, prefix: str, variant: str | None) -> dict[str, Sequence[int]]:
    """Shapes of the weights of a component's folder whose names start with `prefix`."""
    stem = "diffusion_pytorch_model" if folder.name in ("unet", "transformer", "vae") else "model"
    try:
        if is_video_language(folder):
            return dict(open_video_language(folder).shapes(component))
        if is_mplug_owl(folder):
            return dict(open_mplug_owl(folder).shapes(component))
        shapes = open_weights(folder, stem, variant).shapes
    except CheckpointError as error:  # such as for a file that an index names and that is missing
        raise ExportError(str(error)) from None
    return {name: shape for name, shape in shapes.items() if name.startswith(prefix)}
