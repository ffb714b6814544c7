"""Configurations of published video language models at their real sizes, without weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import llava_checkpoint as llava
from . import smolvlm_checkpoint as smol

_VICUNA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "vocab_size": 32064,
}
_CLIP_L = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
}
_SMOL_256M = (
    {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "max_position_embeddings": 8192,
        "vocab_size": 49280,
    },
    {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 512,
        "patch_size": 16,
    },
    4,
)
_SMOL_2B = (
    {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 8192,
        "vocab_size": 49280,
    },
    {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    },
    3,
)
NAMES = ("SmolVLM2-256M", "SmolVLM2-2.2B", "LLaVA-NeXT-Video-7B", "Video-LLaVA-7B")


def write(folder: Path, name: str) -> Any:
    """Writes the files of a model but for its weights; returns transformers' configuration of it."""
    folder.mkdir(parents=True)
    return _smolvlm(folder, name) if name.startswith("Smol") else _llava(folder, name)


def _smolvlm(folder: Path, name: str) -> Any:
    from transformers import SmolVLMConfig

    text, vision, scale = _SMOL_256M if "256M" in name else _SMOL_2B
    words = smol.tokenizer()
    words.save_pretrained(folder)
    config = SmolVLMConfig(
        text_config=text,
        vision_config=vision,
        scale_factor=scale,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=False,
    )
    size = vision["image_size"]
    settings = smol.processor_settings(size, 1536, (size // vision["patch_size"] // scale) ** 2)
    (folder / "processor_config.json").write_text(json.dumps(settings), "utf-8")
    return _written(folder, config, "SmolVLMForConditionalGeneration")


def _llava(folder: Path, name: str) -> Any:
    kind = llava.NEXT_VIDEO if "NeXT" in name else llava.VIDEO_LLAVA
    config_class, model_class, _ = llava.classes(kind)
    words = llava.tokenizer()
    words.chat_template = llava.VICUNA
    words.save_pretrained(folder)
    size = 336 if kind == llava.NEXT_VIDEO else 224
    config = config_class(
        text_config=_VICUNA,
        vision_config=_CLIP_L | {"image_size": size},
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
    )
    llava.write_processor(folder, kind, image=size)
    return _written(folder, config, model_class.__name__)


def _written(folder: Path, config: Any, architecture: str) -> Any:
    config.architectures = [architecture]
    config.save_pretrained(folder)
    return config
