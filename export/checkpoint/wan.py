"""What is read of a Wan 2.1 text-to-video folder (WanPipeline of diffusers): its transformer and its VAE.

Keys of image-to-video models, of Wan 2.2 and of other variants are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from g4v.export.checkpoint.diffusers_part import Part
from g4v.export.errors import ExportError

PIPELINE = "WanPipeline"
STEM = "diffusion_pytorch_model"

TRANSFORMER = Part(
    ("WanTransformer3DModel",),
    STEM,
    frozenset(
        {
            "patch_size", "num_attention_heads", "attention_head_dim", "in_channels", "out_channels",
            "text_dim", "freq_dim", "ffn_dim", "num_layers", "cross_attn_norm", "qk_norm", "eps",
            "image_dim", "added_kv_proj_dim", "rope_max_seq_len", "pos_embed_seq_len",
        }
    ),
    {
        "qk_norm": ("rms_norm_across_heads",),
        # Of image-to-video models.
        "image_dim": (None,),
        "added_kv_proj_dim": (None,),
        "pos_embed_seq_len": (None,),
    },
)  # fmt: skip
VAE = Part(
    ("AutoencoderKLWan",),
    STEM,
    frozenset(
        {
            "base_dim", "decoder_base_dim", "z_dim", "dim_mult", "num_res_blocks", "attn_scales",
            "temperal_downsample", "latents_mean", "latents_std", "is_residual", "in_channels",
            "out_channels", "patch_size", "scale_factor_temporal", "scale_factor_spatial",
        }
    ),
    {
        # Of the VAE of Wan 2.2's small model.
        "is_residual": (False,),
        "patch_size": (None,),
        "in_channels": (3,),
        "out_channels": (3,),
    },
)  # fmt: skip
# Keys of model_index.json that are no parts, with the values that have no effect: others are of Wan 2.2.
INDEX = {"boundary_ratio": (None,), "expand_timesteps": (False,)}
_DEFAULTS: dict[str, Any] = {
    "dim_mult": [1, 2, 4, 4],
    "temperal_downsample": [False, True, True],
    "patch_size": [1, 2, 2],
    "scale_factor_spatial": 8,
    "scale_factor_temporal": 4,
    "z_dim": 16,
    "attention_head_dim": 128,
    "rope_max_seq_len": 1024,
}


def _value(values: Mapping[str, Any], key: str) -> Any:
    return values.get(key, _DEFAULTS[key])


def check_transformer(path: Path, values: Mapping[str, Any]) -> None:
    """Checks what single keys of the transformer's config.json do not show. ExportError: they do not fit."""
    patch = _value(values, "patch_size")
    if not isinstance(patch, list) or len(patch) != 3 or not all(type(p) is int and p > 0 for p in patch):
        raise ExportError(f"{path}: patch_size is {patch!r:.80} but must be a list of 3 positive integers")
    if patch[0] != 1:
        raise ExportError(f"{path}: patch_size {patch} is not supported, only 1 along the frames")
    channels = values.get("in_channels", 16)
    if values.get("out_channels", channels) not in (None, channels):
        raise ExportError(
            f"{path}: in_channels and out_channels differ: it is no text-to-video model (those that take a "
            "picture have more inputs)"
        )
    size = _value(values, "attention_head_dim")
    if type(size) is not int or size < 6 or size % 2:
        raise ExportError(f"{path}: attention_head_dim is {size!r:.80} but must be an even integer from 6 on")


def check_vae(path: Path, values: Mapping[str, Any]) -> None:
    """Checks what single keys of the VAE's config.json do not show. ExportError: they do not fit."""
    mult, halved = _value(values, "dim_mult"), _value(values, "temperal_downsample")
    lists = isinstance(mult, list) and isinstance(halved, list)
    if not lists or len(mult) < 2 or len(halved) != len(mult) - 1:
        raise ExportError(f"{path}: temperal_downsample must have one value less than dim_mult")
    if not all(type(m) is int and m > 0 for m in mult) or not all(isinstance(h, bool) for h in halved):
        raise ExportError(f"{path}: dim_mult must hold positive integers and temperal_downsample booleans")
    for key, scale in (("spatial", 2 ** len(halved)), ("temporal", 2 ** sum(halved))):
        told = _value(values, f"scale_factor_{key}")
        if told != scale:
            raise ExportError(
                f"{path}: scale_factor_{key} is {told!r:.80}, but its layers make {scale} of one latent"
            )
    channels = _value(values, "z_dim")
    for key in ("latents_mean", "latents_std"):
        if key not in values and channels == _DEFAULTS["z_dim"]:
            continue  # those of the class
        found, least = values.get(key), 1e-6 if key == "latents_std" else -1e6
        numbers = isinstance(found, list) and all(
            isinstance(n, (int, float)) and not isinstance(n, bool) and least <= n <= 1e6 for n in found
        )
        if not isinstance(found, list) or not numbers or len(found) != channels:
            more = " above 0" if key == "latents_std" else ""
            raise ExportError(f"{path}: {key} must have {channels} numbers{more}, one for each of z_dim")


def side_scale(values: Mapping[str, Any]) -> int:
    """Pixels of height, and of width, for one latent. values: the VAE's config.json."""
    return int(2 ** len(frame_halvings(values)))


def frame_scale(values: Mapping[str, Any]) -> int:
    """Frames for one latent, but for the first, which has one. values: the VAE's config.json."""
    return int(2 ** sum(frame_halvings(values)))


def frame_halvings(values: Mapping[str, Any]) -> list[bool]:
    """Whether each downsampler halves frames too, the first one first. values: the VAE's config.json."""
    return list(_value(values, "temperal_downsample"))


def patch_sides(values: Mapping[str, Any]) -> tuple[int, int]:
    """Latents of height and of width for one token. values: the transformer's config.json."""
    _, high, wide = _value(values, "patch_size")
    return high, wide


def restore_rotary(model: Any) -> Any:
    """Returns the WanTransformer3DModel with the tables of its rotary embeddings, which no file has."""
    config = model.config
    with torch.device("cpu"):
        model.rope = type(model.rope)(
            config.attention_head_dim, tuple(config.patch_size), config.rope_max_seq_len
        )
    return model
