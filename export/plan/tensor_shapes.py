"""Shapes of a run's weights, read from the headers of its safetensors files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.weight_files import index_files


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
        parts += [("text_encoder", folder / "text_encoder", ""), ("unet", folder / "unet", "")]
        parts += [("vae_decoder", folder / "vae", "decoder.")]
    if checkpoint.has("frame_checker"):
        parts += [("frame_checker", checkpoint.parts["frame_checker"], "")]
    return {name: _shapes(folder, prefix) for name, folder, prefix in parts}


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
