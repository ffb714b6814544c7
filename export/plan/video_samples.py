"""Seconds that an export of a small text-to-video model spends on real videos of the bundle's own size.

A large model sees few frames of 16x16 latents (g4v.export.verify.samples), which the seconds per weight of
g4v.export.plan.export_estimate hold. A small one sees whole videos: at 24 frames of 576x320 nearly all of its
export's time is comparing them with PyTorch in float64.
"""

from __future__ import annotations

from collections.abc import Mapping

from g4v._files import read_json
from g4v.export.checkpoint.pipelines import denoiser_of
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.video_sizes import vae_scale
from g4v.export.components.text_to_video import text_length
from g4v.export.errors import ExportError
from g4v.export.plan.operations import Tensors, attended, convolved
from g4v.export.plan.transformer_operations import TransformerVideo
from g4v.export.verify.diffusion_samples import weights_bytes
from g4v.export.verify.samples import LARGE

# Operations that one core does in a second, measured on AVX2: ONNX Runtime's, PyTorch's in float64, and its
# encoding of clips, counted as operations of the decoder.
_FLOAT32, _FLOAT64, _ENCODING = 70e9, 9e9, 50e9
_STEPS = 5  # inputs of the UNet or the transformer
_CLIPS = 4  # drawn ones; inputs of the VAE decoder, and one of a single frame
_COMPARED = 2  # inputs that PyTorch computes in float64: of the VAE one of them is a single frame


def video_seconds(checkpoint: Checkpoint, shapes: Mapping[str, Tensors]) -> dict[str, float]:
    """Seconds of one core by component, "unet" or "transformer" and the VAE's; empty where there is no
    text-to-video model or it is large.

    shapes: of the tensors of each component. Drawn clips are counted, as if the user named none.
    ExportError: a configuration file cannot be read.
    """
    if not checkpoint.has("t2v"):
        return {}
    folder = checkpoint.parts["t2v"]
    denoiser = denoiser_of(folder)
    if not {denoiser, "vae_decoder"} <= set(shapes):
        return {}
    if weights_bytes(folder / denoiser, folder / "vae") > LARGE:
        return {}
    if denoiser == "transformer":
        return _transformer_seconds(TransformerVideo(checkpoint), shapes, text_length(checkpoint))
    video = checkpoint.about["generation"].get("video", {})
    frames = int(video.get("frames", 8))
    pixels = int(video.get("height", 64)) * int(video.get("width", 64))
    unet, vae = (
        len(read_json(folder / part / "config.json", ExportError)["block_out_channels"])
        for part in ("unet", "vae")
    )
    latents = pixels / vae_scale(folder) ** 2
    step = 2 * frames * (convolved(shapes["unet"], unet, latents) + attended(shapes["unet"], unet, latents))
    frame = convolved(shapes["vae_decoder"], vae, pixels)
    vae_seconds = ((_CLIPS + 1) * frames + 2) * frame / _FLOAT32 + (frames + 1) * frame / _FLOAT64
    return {
        "unet": _CLIPS * frames * frame / _ENCODING
        + (_STEPS + _COMPARED) * step / _FLOAT32
        + _COMPARED * step / _FLOAT64,
        "vae_decoder": vae_seconds,
        "vae_encoder": vae_seconds,  # at most: it has fewer layers
    }


def _transformer_seconds(
    video: TransformerVideo, shapes: Mapping[str, Tensors], length: int
) -> dict[str, float]:
    step = 2 * video.step(shapes["transformer"], length)
    whole = video.decoding(shapes["vae_decoder"])
    chunk = whole / video.latent_frames
    compared = (_CLIPS * video.latent_frames + 4 * _CLIPS) * chunk / _FLOAT32 + _COMPARED * chunk / _FLOAT64
    if video.is_whole:  # every clip, and a single frame
        compared = ((_CLIPS + 1) * whole + chunk) / _FLOAT32 + (whole + chunk) / _FLOAT64
    return {
        "transformer": _CLIPS * video.latent_frames * chunk / _ENCODING
        + (_STEPS + _COMPARED) * step / _FLOAT32
        + _COMPARED * step / _FLOAT64,
        # Of a causal one two chunks of every clip, made by PyTorch too, which has the caches from them.
        "vae_decoder": compared,
    }
