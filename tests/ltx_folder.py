"""A small LTX-Video text-to-video folder with random weights, as diffusers writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel

from .t5_models import make_encoder, write_tokenizer
from .wan_folder import shaken

TRANSFORMER: dict[str, Any] = {
    "in_channels": 8,
    "out_channels": 8,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "cross_attention_dim": 32,
    "num_layers": 2,
    "caption_channels": 48,
}
# As of version 0.9: one latent of 8 frames and 32 pixels a side.
VAE: dict[str, Any] = {
    "latent_channels": 8,
    "block_out_channels": [8, 8, 16, 16],
    "decoder_block_out_channels": [8, 8, 16, 16],
    "layers_per_block": [1, 1, 1, 1, 1],
    "decoder_layers_per_block": [1, 1, 2, 1, 1],
}
# As of version 0.9.1, which is told a time step and adds noise between its layers.
VAE_0_9_1: dict[str, Any] = {
    **VAE,
    "decoder_block_out_channels": [8, 16, 32],
    "decoder_layers_per_block": [1, 2, 1, 1],
    "decoder_spatio_temporal_scaling": [True, True, True],
    "decoder_inject_noise": [True, False, True, True],
    "upsample_residual": [True, True, True],
    "upsample_factor": [2, 2, 2],
    "timestep_conditioning": True,
}
# As of version 0.9.5: other blocks of the encoder, and no noise in the decoder.
VAE_0_9_5: dict[str, Any] = {
    **VAE_0_9_1,
    "block_out_channels": [8, 8, 16, 16, 16],
    "layers_per_block": [1, 1, 1, 1, 1],
    "down_block_types": ["LTXVideo095DownBlock3D"] * 4,
    "downsample_type": ["spatial", "temporal", "spatiotemporal", "spatiotemporal"],
    "spatio_temporal_scaling": [True] * 4,
    "decoder_inject_noise": [False] * 4,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
# As scheduler_config.json of LTX-Video.
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "base_image_seq_len": 1024,
    "max_image_seq_len": 4096,
    "shift_terminal": 0.1,
}

# Of the folders of LTXConditionPipeline, which gives the noise levels itself.
CONDITION_SCHEDULER: dict[str, Any] = {**SCHEDULER, "use_dynamic_shifting": False, "shift_terminal": None}

# As model_index.json of the same.
INDEX: dict[str, Any] = {
    "_class_name": "LTXPipeline",
    "_diffusers_version": "0.42.1",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "T5Tokenizer"],
    "transformer": ["diffusers", "LTXVideoTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLLTXVideo"],
}


def transformer(**changes: Any) -> Any:
    torch.manual_seed(1)
    return shaken(LTXVideoTransformer3DModel(**{**TRANSFORMER, **changes}))


def vae(config: dict[str, Any] = VAE, **changes: Any) -> Any:
    torch.manual_seed(2)
    made = shaken(AutoencoderKLLTXVideo(**{**config, **changes}))
    generator = torch.Generator().manual_seed(3)
    shape = made.latents_mean.shape
    made.latents_mean.copy_(torch.randn(shape, generator=generator) * 0.3)
    made.latents_std.copy_(torch.rand(shape, generator=generator) + 0.5)
    return made


def write_ltx(
    folder: Path,
    config: dict[str, Any] = VAE,
    layout: str = "spiece.model",
    pipeline: str = "LTXPipeline",
) -> Path:
    """Writes the folder. config: of its VAE. layout: of its tokenizer (`write_tokenizer`). pipeline: that
    model_index.json names.
    """
    transformer().save_pretrained(folder / "transformer")
    vae(config).save_pretrained(folder / "vae")
    levels = SCHEDULER if pipeline == "LTXPipeline" else CONDITION_SCHEDULER
    FlowMatchEulerDiscreteScheduler(**levels).save_pretrained(folder / "scheduler")
    tokenizer = write_tokenizer(folder / "tokenizer", layout, 128)
    encoder = make_encoder("t5", vocab_size=len(tokenizer), d_model=TRANSFORMER["caption_channels"])
    encoder.save_pretrained(folder / "text_encoder")
    (folder / "model_index.json").write_text(json.dumps({**INDEX, "_class_name": pipeline}), "utf-8")
    return folder
