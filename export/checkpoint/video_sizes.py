"""Sizes that a text-to-video model can make: what its latents and its patches stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.export.checkpoint import ltx, wan
from g4v.export.checkpoint.pipelines import pipeline_of
from g4v.export.errors import ExportError

# Pipelines whose VAE halves frames too -> who knows by how much.
_VIDEO_VAES: dict[str, Any] = {wan.PIPELINE: wan, **dict.fromkeys(ltx.PIPELINES, ltx)}


def vae_scale(t2v: Path) -> int:
    """Returns how many pixels of height, and of width, one latent of the VAE stands for.

    t2v: the text-to-video folder. ExportError: a configuration cannot be read.
    """
    config = read_json(t2v / "vae" / "config.json", ExportError)
    of = _VIDEO_VAES.get(pipeline_of(t2v))
    if of is not None:
        return int(of.side_scale(config))
    return 2 ** (len(config.get("block_out_channels", (64,))) - 1)  # the default is diffusers'


def frame_scale(t2v: Path) -> int:
    """Returns how many frames one latent of the VAE stands for; where more than one, the first latent has one
    alone. Arguments and errors as for `vae_scale`.
    """
    of = _VIDEO_VAES.get(pipeline_of(t2v))
    return 1 if of is None else int(of.frame_scale(read_json(t2v / "vae" / "config.json", ExportError)))


def latent_frames(t2v: Path, frames: int) -> int:
    """Returns how many latents stand for so many frames. Arguments and errors as for `vae_scale`."""
    return (frames - 1) // frame_scale(t2v) + 1


def side_steps(t2v: Path) -> tuple[int, int]:
    """Returns what height and width of a video must be multiples of: the pixels of a latent, or of a patch of
    the transformer. Arguments and errors as for `vae_scale`.
    """
    scale = vae_scale(t2v)
    if pipeline_of(t2v) != wan.PIPELINE:
        return scale, scale
    high, wide = wan.patch_sides(read_json(t2v / "transformer" / "config.json", ExportError))
    return scale * high, scale * wide


def check_video_size(t2v: Path, place: str, frames: int, height: int, width: int) -> None:
    """Checks that the model makes videos of a size.

    place: begins the message, such as "g4v_train.json: generation.video: ".
    ExportError: it does not.
    """
    high, wide = side_steps(t2v)
    if height % high or width % wide:
        steps = str(high) if high == wide else f"{wide} and {high}"
        raise ExportError(f"{place}width and height must be multiples of {steps}, not {width}x{height}")
    scale = frame_scale(t2v)
    if (frames - 1) % scale:
        fewer = latent_frames(t2v, frames) * scale - scale + 1
        raise ExportError(
            f"{place}frames is {frames} but must be 1 more than a multiple of {scale}, such as {fewer} or "
            f"{fewer + scale}"
        )
