"""Sizes of every part, and the presets: tiny, small, gpt4video-7b.

The parts that come from transformers and diffusers are described by their own configuration objects; a preset
holds the keyword arguments. Code that reads a checkpoint follows the configuration files in the checkpoint,
never a preset.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

FLAVOURS = ("clip", "mplug-owl-video")


def _from_dict(cls: type, values: dict[str, Any], where: str) -> Any:
    """Builds the dataclass `cls`; ValueError names unknown and missing keys and `where` they were read."""
    known = {item.name for item in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}")
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


@dataclass(frozen=True)
class AbstractorConfig:
    """Sizes of `VideoAbstractor`."""

    hidden_size: int = 1024  # width of the queries
    num_layers: int = 6
    num_heads: int = 16
    intermediate_size: int = 2816  # width of the gated MLP
    num_queries: int = 64  # spatial queries, and rows of the output (vit_eos comes on top)
    num_temporal_queries: int = 64  # equal to num_queries: the two halves are added
    # Width of the encoder's tokens, equal to hidden_size: queries and memory go through one key projection.
    memory_size: int = 1024
    output_size: int = 4096  # width of the language model's embeddings
    layer_norm_eps: float = 1e-5
    ffn_layer_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.memory_size != self.hidden_size:
            raise ValueError(f"memory_size {self.memory_size} must equal hidden_size {self.hidden_size}")
        if self.num_temporal_queries != self.num_queries:
            raise ValueError("num_temporal_queries must equal num_queries")
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )

    @property
    def output_tokens(self) -> int:
        """Rows that one video takes in the prompt: the queries and vit_eos."""
        return self.num_queries + 1

    @classmethod
    def from_file(cls, path: str | Path) -> AbstractorConfig:
        """Reads config.json. ValueError: an unknown key, or sizes that do not fit each other."""
        return _from_dict(cls, json.loads(Path(path).read_text("utf-8-sig")), str(path))


@dataclass(frozen=True)
class FrameCheckerConfig:
    """Sizes of `FrameChecker`, and the share of unsafe frames that withholds a video."""

    hidden_size: int = 1024  # width of the encoder's tokens
    intermediate_size: int = 256
    # Share of unsafe frames above which a video is withheld; the authors' rule is more than 4 of 10.
    withhold_above: float = 0.4

    @classmethod
    def from_file(cls, path: str | Path) -> FrameCheckerConfig:
        """Reads config.json. ValueError: an unknown key."""
        return _from_dict(cls, json.loads(Path(path).read_text("utf-8-sig")), str(path))


@dataclass(frozen=True)
class VideoTowerConfig:
    """Sizes of `MplugOwlVideoTower`."""

    hidden_size: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    intermediate_size: int = 4096
    image_size: int = 224  # pixels, square
    patch_size: int = 14
    layer_norm_eps: float = 1e-6
    temporal_layer_norm_eps: float = 1e-5
    flavour: str = "mplug-owl-video"

    def __post_init__(self) -> None:
        if self.flavour != "mplug-owl-video":
            raise ValueError(f"flavour must be 'mplug-owl-video', not {self.flavour!r}")
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )

    @property
    def tokens_per_frame(self) -> int:
        """Patches of a frame, and the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1

    @classmethod
    def from_file(cls, path: str | Path) -> VideoTowerConfig:
        """Reads config.json. ValueError: an unknown key, or sizes that do not fit each other."""
        return _from_dict(cls, json.loads(Path(path).read_text("utf-8-sig")), str(path))


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
