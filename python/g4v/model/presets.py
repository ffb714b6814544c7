"""Sizes of whole assistants: tiny, small, gpt4video-7b.

A preset holds g4v's own configurations, and keyword arguments for the configuration classes of transformers
and diffusers. Code that reads a checkpoint follows the configuration files in the checkpoint, never a preset.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from g4v.model.config import AbstractorConfig, VideoTowerConfig


@dataclass(frozen=True)
class Preset:
    """A complete system. The dictionaries are keyword arguments of the class named beside them."""

    name: str
    frames: int  # frames sampled from a clip
    flavour: str  # of the encoder
    encoder: dict[str, Any]  # VideoTowerConfig, or transformers.CLIPVisionConfig where flavour is "clip"
    abstractor: AbstractorConfig
    llama: dict[str, Any]  # transformers.LlamaConfig, without vocab_size and token ids
    lora: dict[str, Any]  # peft.LoraConfig
    text_encoder: dict[str, Any]  # transformers.CLIPTextConfig, without vocab_size and token ids
    vae: dict[str, Any]  # diffusers.AutoencoderKL
    unet: dict[str, Any]  # diffusers.UNet3DConditionModel
    scheduler: dict[str, Any] = field(default_factory=dict)  # a diffusers scheduler_config.json

    def llama_config(self, vocab_size: int, **token_ids: Any) -> Any:
        """The `transformers.LlamaConfig`; token_ids are bos_token_id, eos_token_id, pad_token_id."""
        from transformers import LlamaConfig

        return LlamaConfig(vocab_size=vocab_size, **self.llama, **token_ids)

    def text_config(self, vocab_size: int, **token_ids: Any) -> Any:
        """The `transformers.CLIPTextConfig`; token_ids as in `llama_config`."""
        from transformers import CLIPTextConfig

        return CLIPTextConfig(vocab_size=vocab_size, **self.text_encoder, **token_ids)

    def encoder_config(self) -> Any:
        """`VideoTowerConfig` or `transformers.CLIPVisionConfig`, by flavour."""
        if self.flavour == "mplug-owl-video":
            return VideoTowerConfig(**self.encoder)
        from transformers import CLIPVisionConfig

        return CLIPVisionConfig(**self.encoder)


_LORA = {
    "r": 16,
    "lora_alpha": 16,
    "lora_dropout": 0.1,
    "target_modules": ["q_proj", "v_proj"],
    "bias": "none",
}

# With the plain CLIP flavour the abstractor reads a set of tokens without frame order, so directions could
# not be told apart: `tiny` therefore uses the flavour whose temporal convolutions carry the order.
TINY = Preset(
    name="tiny",
    frames=8,
    flavour="mplug-owl-video",
    encoder={
        "hidden_size": 128,
        "num_layers": 3,
        "num_heads": 4,
        "intermediate_size": 256,
        "image_size": 64,
        "patch_size": 8,
    },
    abstractor=AbstractorConfig(
        hidden_size=128,
        num_layers=3,
        num_heads=4,
        intermediate_size=352,
        num_queries=16,
        num_temporal_queries=16,
        memory_size=128,
        output_size=192,
    ),
    llama={
        "hidden_size": 192,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 512,
        "max_position_embeddings": 1024,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": True,
    },
    lora=_LORA,
    text_encoder={
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 32,
        "hidden_act": "quick_gelu",
    },
    vae={
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [16, 32, 48, 64],
        "layers_per_block": 1,
        "latent_channels": 8,
        "norm_num_groups": 8,
        "sample_size": 64,
        "mid_block_add_attention": False,
    },
    unet={
        "sample_size": 8,
        "in_channels": 8,
        "out_channels": 8,
        # Attention at full resolution too: shapes are told apart, and kept from frame to frame, by details.
        "down_block_types": ["CrossAttnDownBlock3D", "CrossAttnDownBlock3D"],
        "up_block_types": ["CrossAttnUpBlock3D", "CrossAttnUpBlock3D"],
        "block_out_channels": [48, 96],
        "layers_per_block": 1,
        "cross_attention_dim": 128,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
    },
    # Ends in pure noise and predicts velocity: 8 small frames are dominated by their background, which the
    # usual schedule would leak into the first step.
    scheduler={
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "steps_offset": 0,
        "set_alpha_to_one": True,
        "clip_sample": False,
    },
)

# The language model is SmolLM2-135M-Instruct; vision and text-to-video are those of `tiny`.
SMALL = replace(
    TINY,
    name="small",
    abstractor=replace(TINY.abstractor, output_size=576),
    llama={
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
        "tie_word_embeddings": True,
    },
    lora={
        **_LORA,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "target_modules": ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
    },
)

GPT4VIDEO_7B = Preset(
    name="gpt4video-7b",
    frames=8,
    flavour="mplug-owl-video",
    encoder=asdict(VideoTowerConfig()),
    abstractor=AbstractorConfig(),
    llama={
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 11008,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
    },
    lora=_LORA,
    text_encoder={
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "max_position_embeddings": 77,
        "hidden_act": "gelu",
    },
    vae={
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "latent_channels": 4,
        "scaling_factor": 0.18215,
    },
    unet={
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "cross_attention_dim": 1024,
        "attention_head_dim": 64,
    },
    scheduler={
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "epsilon",
        "rescale_betas_zero_snr": False,
        "timestep_spacing": "leading",
        "steps_offset": 1,
        "set_alpha_to_one": False,
        "clip_sample": False,
    },
)

PRESETS = {preset.name: preset for preset in (TINY, SMALL, GPT4VIDEO_7B)}
