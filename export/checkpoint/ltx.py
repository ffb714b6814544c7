"""What is read of an LTX-Video text-to-video folder (LTXPipeline or LTXConditionPipeline of
diffusers): its transformer and its VAE.

Keys whose effect the graphs do not have are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from g4v.export.checkpoint.diffusers_part import Part
from g4v.export.errors import ExportError

PIPELINE = "LTXPipeline"
CONDITION_PIPELINE = "LTXConditionPipeline"  # of versions from 0.9.5 on; here without a condition
PIPELINES = (PIPELINE, CONDITION_PIPELINE)
STEM = "diffusion_pytorch_model"
_CLASS = "LTXVideoTransformer3DModel"

TRANSFORMER = Part(
    (_CLASS,),
    STEM,
    frozenset(
        {
            "in_channels", "out_channels", "patch_size", "patch_size_t", "num_attention_heads",
            "attention_head_dim", "cross_attention_dim", "num_layers", "activation_fn", "qk_norm",
            "norm_elementwise_affine", "norm_eps", "caption_channels", "attention_bias",
            "attention_out_bias",
        }
    ),
    {
        "patch_size": (1,),
        "patch_size_t": (1,),
        "activation_fn": ("gelu-approximate",),
        "qk_norm": ("rms_norm_across_heads",),
        "norm_elementwise_affine": (False, True),
        "attention_bias": (False, True),
        "attention_out_bias": (False, True),
    },
)  # fmt: skip
VAE = Part(
    ("AutoencoderKLLTXVideo",),
    STEM,
    frozenset(
        {
            "in_channels", "out_channels", "latent_channels", "block_out_channels", "down_block_types",
            "decoder_block_out_channels", "layers_per_block", "decoder_layers_per_block",
            "spatio_temporal_scaling", "decoder_spatio_temporal_scaling", "decoder_inject_noise",
            "downsample_type", "upsample_residual", "upsample_factor", "timestep_conditioning", "patch_size",
            "patch_size_t", "resnet_norm_eps", "scaling_factor", "encoder_causal", "decoder_causal",
            "spatial_compression_ratio", "temporal_compression_ratio",
        }
    ),
    {
        "in_channels": (3,),
        "out_channels": (3,),
        "patch_size_t": (1,),
        "down_block_types": ("LTXVideoDownBlock3D", "LTXVideo095DownBlock3D"),
        "downsample_type": ("conv", "spatial", "temporal", "spatiotemporal"),
        **{
            key: (False, True)
            for key in ("timestep_conditioning", "encoder_causal", "decoder_causal", "decoder_inject_noise",
                        "upsample_residual", "spatio_temporal_scaling", "decoder_spatio_temporal_scaling")
        },
    },
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    "in_channels": 128,
    "num_attention_heads": 32,
    "attention_head_dim": 64,
    "cross_attention_dim": 2048,
    "num_layers": 28,
    "norm_eps": 1e-6,
    "caption_channels": 4096,
    "latent_channels": 128,
    "patch_size": 4,
    "spatio_temporal_scaling": [True, True, True, False],
    "decoder_block_out_channels": [128, 256, 512, 512],
    "decoder_layers_per_block": [4, 3, 3, 3, 4],
    "decoder_spatio_temporal_scaling": [True, True, True, False],
    "decoder_inject_noise": [False] * 5,
    "upsample_residual": [False] * 4,
    "upsample_factor": [1] * 4,
    "timestep_conditioning": False,
    "scaling_factor": 1.0,
    "resnet_norm_eps": 1e-6,
}
_COUNTS = ("in_channels", "num_attention_heads", "attention_head_dim", "num_layers", "caption_channels")


def _value(values: Mapping[str, Any], key: str) -> Any:
    return values.get(key, _DEFAULTS[key])


def is_ltx(values: Mapping[str, Any]) -> bool:
    """Whether a transformer's config.json is of LTX-Video. values: what it holds."""
    return values.get("_class_name") == _CLASS


def check_transformer(path: Path, values: Mapping[str, Any]) -> None:
    """Checks what single keys of the transformer's config.json do not show. ExportError: they do not fit."""
    for key in _COUNTS:
        _check_count(path, key, _value(values, key))
    channels = _value(values, "in_channels")
    if values.get("out_channels", channels) not in (None, channels):
        raise ExportError(
            f"{path}: in_channels and out_channels differ: it does not predict the flow of its input"
        )
    _check_epsilon(path, values, "norm_eps")
    width = _value(values, "num_attention_heads") * _value(values, "attention_head_dim")
    if _value(values, "cross_attention_dim") != width:
        raise ExportError(
            f"{path}: cross_attention_dim is {_value(values, 'cross_attention_dim')!r:.80} but must be "
            f"num_attention_heads * attention_head_dim, {width}: texts are projected to that"
        )
    if _value(values, "attention_head_dim") % 2 or width < 6:
        raise ExportError(f"{path}: attention_head_dim must be even, and all heads together have 6 or more")


def check_vae(path: Path, values: Mapping[str, Any]) -> None:
    """Checks what single keys of the VAE's config.json do not show. ExportError: they do not fit."""
    for key in ("latent_channels", "patch_size"):
        _check_count(path, key, _value(values, key))
    _check_epsilon(path, values, "resnet_norm_eps")
    factor = _value(values, "scaling_factor")
    if type(factor) not in (int, float) or not 1e-6 <= factor <= 1e6:
        raise ExportError(f"{path}: scaling_factor is {factor!r:.80} but must be a number from 1e-6 to 1e6")
    blocks = _list(path, values, "decoder_block_out_channels", None)
    lists = {
        key: _list(path, values, key, len(blocks) + more)
        for key, more in (
            ("decoder_layers_per_block", 1),
            ("decoder_spatio_temporal_scaling", 0),
            ("decoder_inject_noise", 1),
            ("upsample_residual", 0),
            ("upsample_factor", 0),
        )
    }
    for key, numbers in (("decoder_block_out_channels", blocks), *lists.items()):
        if key in ("decoder_layers_per_block", "decoder_block_out_channels", "upsample_factor"):
            for number in numbers:
                _check_count(path, key, number)
    _check_channels(path, values, blocks, lists)
    doubled = sum(lists["decoder_spatio_temporal_scaling"])
    encoded = _value(values, "spatio_temporal_scaling")
    halved = sum(encoded) if isinstance(encoded, list) else 0
    for key, own in (("spatial", _value(values, "patch_size")), ("temporal", 1)):
        ratio = values.get(f"{key}_compression_ratio")
        ratio = own * 2**halved if ratio is None else ratio
        if ratio != own * 2**doubled:
            raise ExportError(
                f"{path}: {key}_compression_ratio is {ratio!r:.80}, but the decoder's layers make "
                f"{own * 2**doubled} of one latent"
            )


def _check_channels(
    path: Path, values: Mapping[str, Any], blocks: Sequence[int], lists: Mapping[str, Sequence[Any]]
) -> None:
    """Follows the channels through the decoder, whose first block has the last numbers of each list."""
    channels = blocks[-1]
    rows = zip(
        *(list(reversed(part)) for part in (
            blocks, lists["upsample_factor"], lists["decoder_spatio_temporal_scaling"],
            lists["upsample_residual"], lists["decoder_inject_noise"][:-1],
        )), strict=True,
    )  # fmt: skip
    for wanted, factor, doubles, residual, noise in rows:
        made, given = wanted // factor, channels // factor
        if made != given:
            if _value(values, "timestep_conditioning") or noise:
                raise ExportError(
                    f"{path}: decoder_block_out_channels: a block that changes its channels takes neither "
                    "timestep_conditioning nor decoder_inject_noise"
                )
            fits = factor == 1
            channels = made
        else:
            fits = True
        fits = fits and channels == (made * factor if doubles else made) and made > 0
        if doubles and residual:
            fits = fits and channels % 8 == 0 and 8 % factor == 0
        if not fits:
            raise ExportError(f"{path}: decoder_block_out_channels and upsample_factor do not fit together")
        channels = made


def _list(path: Path, values: Mapping[str, Any], key: str, count: int | None) -> list[Any]:
    found = _value(values, key)
    if not isinstance(found, list) or not found or count not in (None, len(found)):
        many = "at least one element" if count is None else f"{count} elements"
        raise ExportError(f"{path}: {key} is {found!r:.80} but must be a list of {many}")
    return found


def _check_count(path: Path, key: str, value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ExportError(f"{path}: {key} is {value!r:.80} but must hold integers from 1 on")


def _check_epsilon(path: Path, values: Mapping[str, Any], key: str) -> None:
    value = _value(values, key)
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise ExportError(f"{path}: {key} is {value!r:.80} but must be a number from 0 to below 1")


def side_scale(values: Mapping[str, Any]) -> int:
    """Pixels of height, and of width, for one latent. values: the VAE's config.json."""
    return int(_value(values, "patch_size")) * frame_scale(values)


def frame_scale(values: Mapping[str, Any]) -> int:
    """Frames for one latent, but for the first, which has one. values: the VAE's config.json."""
    return int(2 ** sum(_value(values, "decoder_spatio_temporal_scaling")))


def latent_channels(values: Mapping[str, Any]) -> int:
    """Channels of the latents. values: the VAE's config.json."""
    return int(_value(values, "latent_channels"))


def takes_timestep(values: Mapping[str, Any]) -> bool:
    """Whether the decoder is told how much noise is left. values: the VAE's config.json."""
    return bool(_value(values, "timestep_conditioning"))


def text_width(values: Mapping[str, Any]) -> int:
    """Width of the states of a text. values: the transformer's config.json."""
    return int(_value(values, "caption_channels"))


def doublings(values: Mapping[str, Any]) -> list[bool]:
    """Whether each block of the decoder doubles frames, height and width, the first one first. values: the
    VAE's config.json.
    """
    return list(reversed(_value(values, "decoder_spatio_temporal_scaling")))


def last_layers(values: Mapping[str, Any]) -> tuple[int, int]:
    """Channels of the decoder's last layers, and pixels of a side for one of their places. values: the VAE's
    config.json.
    """
    channels, factors = (_value(values, key) for key in ("decoder_block_out_channels", "upsample_factor"))
    return channels[0] // factors[0], int(_value(values, "patch_size"))


def width(values: Mapping[str, Any]) -> int:
    """Width of all heads together. values: the transformer's config.json."""
    return int(_value(values, "num_attention_heads") * _value(values, "attention_head_dim"))


def check_statistics(folder: Path, vae: Any) -> Any:
    """Returns the AutoencoderKLLTXVideo of `folder`. ExportError: means or deviations of its latents are out
    of range.
    """
    mean, std = vae.latents_mean.float(), vae.latents_std.float()
    if not (mean.abs() <= 1e6).all() or not ((std >= 1e-6) & (std <= 1e6)).all():
        raise ExportError(f"{folder}: latents_mean must be from -1e6 to 1e6 and latents_std from 1e-6 to 1e6")
    return vae


def noise_scales(vae: Any) -> list[int]:
    """Of each noise that the decoder of an AutoencoderKLLTXVideo adds, in the order in which it does so: how
    many times as high and as wide as the latents it is.
    """
    found: list[int] = []
    scale = 1

    def add(block: Any) -> None:
        parts = (block.per_channel_scale1, block.per_channel_scale2)
        found.extend(scale for part in parts if part is not None)

    for block in vae.decoder.mid_block.resnets:
        add(block)
    for stage in vae.decoder.up_blocks:
        if stage.conv_in is not None:
            add(stage.conv_in)
        scale *= 2 if stage.upsamplers else 1
        for block in stage.resnets:
            add(block)
    return found


def denormalised(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents [f, C, h, w] of unit variance as the decoder takes them."""
    mean, std = (part.to(latents).reshape(1, -1, 1, 1) for part in (vae.latents_mean, vae.latents_std))
    return latents * std / vae.config.scaling_factor + mean


def normalised(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents [f, C, h, w] of the encoder as they are denoised: of about unit variance."""
    mean, std = (part.to(latents).reshape(1, -1, 1, 1) for part in (vae.latents_mean, vae.latents_std))
    return (latents - mean) * vae.config.scaling_factor / std
