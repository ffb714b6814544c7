"""Names and shapes of the tensors in mPLUG-Owl checkpoints, and the configurations of their parts.

Sizes come from config.json (MplugOwlConfig); what it leaves out has the public defaults. The video code does
not use the abstractor's intermediate_size as it is (2/3 of it, rounded up to a multiple of 256, unless it is
2816); the image code does. `abstractor_config` therefore goes by the width that the checkpoint has.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v.model.abstractor import VideoAbstractor
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.llama_config import NO_EFFECT, checked_config
from g4v.model.config import AbstractorConfig, VideoTowerConfig
from g4v.model.vision import MplugOwlVideoTower

Shapes = dict[str, tuple[int, ...]]
PARTS = ("encoder", "abstractor", "llm", "adapter")

_WRAPPERS = re.compile(r"^(?:module\.)?(?:model\.)?(?:base_model\.model\.)?")
_LORA = re.compile(r"language_model\.(.+)\.(lora_[AB])(?:\.[^.]+)?\.weight")
# Buffers of older transformers, and the authors' second name for the word embeddings.
_IGNORED = re.compile(r".*(?:rotary_emb\.inv_freq|position_ids)|input_embeddings\.weight")
# Keys of the two visual parts that are obeyed; of the others, those that would change a number must have the
# value that the public code has in mind.
_VISION_KEYS = set(
    "hidden_size num_hidden_layers num_attention_heads intermediate_size image_size patch_size "
    "layer_norm_eps hidden_act".split()
)
_ABSTRACTOR_KEYS = set(
    "hidden_size num_hidden_layers num_attention_heads intermediate_size encoder_hidden_size "
    "layer_norm_eps".split()
)
_SIZES = ((_VISION_KEYS | _ABSTRACTOR_KEYS) - {"layer_norm_eps", "hidden_act"}) | {"num_query_tokens"}
_TOP_KEYS = {"vision_config", "visual_abstractor_config", "text_config", "num_query_tokens", "model_type"}
_NO_EFFECT_HERE = NO_EFFECT | set(
    "initializer_factor projection_dim attention_dropout attention_probs_dropout_prob architectures auto_map "
    "bos_token_id eos_token_id pad_token_id vocab_size is_composition grid_size cross_attention_freq "
    "hidden_dropout_prob position_embedding_type max_position_embeddings task use_flash_attn "
    "use_fp32_layernorm use_decoder_only_language_model".split()
)
_ONLY: dict[str, Any] = {"num_channels": 3, "is_encoder_decoder": False, "add_cross_attention": False}


def place_tensor(name: str) -> tuple[str, str] | None:
    """The part that a checkpoint's tensor belongs to, and its name in that part; None if it is ignored.

    The wrappers of Lightning, DDP and PEFT are stripped. Adapter names are PEFT's. CheckpointError: unknown.
    """
    bare = _WRAPPERS.sub("", name)
    lora = _LORA.fullmatch(bare)
    if lora:
        return "adapter", f"base_model.model.{lora[1]}.{lora[2]}.weight"
    bare = bare.replace(".base_layer.", ".")
    if _IGNORED.fullmatch(bare):
        return None
    head, _, rest = bare.partition(".")
    if head == "vision_model" and rest:
        return "encoder", rest
    if bare in ("query_tokens", "temporal_query_tokens"):
        return "abstractor", bare
    if head == "abstractor" and rest:
        return "abstractor", rest
    if head == "language_model" and rest:
        return "llm", rest
    raise CheckpointError(f"unexpected tensor {name}")


def _section(config: dict[str, Any], key: str) -> dict[str, Any]:
    values = config.get(key) or {}
    if not isinstance(values, dict):
        raise CheckpointError(f"config.json: {key} is not an object")
    return values


def check_keys(config: dict[str, Any]) -> None:
    """Raises CheckpointError where a checkpoint's config.json has a key that would not be followed."""
    text = llama_config(config)
    # The public class copies what the language model says; config.json then says it twice.
    copied = {key for key, value in config.items() if getattr(text, key, config) == value}
    sections = (
        ("", config, _TOP_KEYS | copied),
        ("vision_config.", _section(config, "vision_config"), _VISION_KEYS),
        ("visual_abstractor_config.", _section(config, "visual_abstractor_config"), _ABSTRACTOR_KEYS),
    )
    for place, values, obeyed in sections:
        for key, value in values.items():
            if key in _SIZES and (type(value) is not int or value < 1):
                raise CheckpointError(f"config.json: {place}{key} is {value!r:.80}, not a positive number")
            known = key in obeyed or key in _NO_EFFECT_HERE or (place and key == "model_type")
            if not known and value not in (None, [], {}) and (key not in _ONLY or value != _ONLY[key]):
                raise CheckpointError(
                    f"config.json: {place}{key} = {value!r:.80} is not supported; take it out of a copy if "
                    "it changes nothing that the public mPLUG-Owl computes"
                )


def encoder_config(config: dict[str, Any]) -> VideoTowerConfig:
    """The encoder's sizes in a checkpoint's config.json (vision_config), by default those of ViT-L/14."""
    values = _section(config, "vision_config")
    eps = values.get("layer_norm_eps", 1e-6)
    if not isinstance(eps, float):
        raise CheckpointError(f"config.json: vision_config.layer_norm_eps is {eps!r:.80}, not a number")
    if values.get("hidden_act", "quick_gelu") != "quick_gelu":
        raise CheckpointError(f"config.json: vision_config.hidden_act {values['hidden_act']!r} is unknown")
    return VideoTowerConfig(
        hidden_size=values.get("hidden_size", 1024),
        num_layers=values.get("num_hidden_layers", 24),
        num_heads=values.get("num_attention_heads", 16),
        intermediate_size=values.get("intermediate_size", 4096),
        image_size=values.get("image_size", 224),
        patch_size=values.get("patch_size", 14),
        layer_norm_eps=eps,
    )


def abstractor_config(config: dict[str, Any], output_size: int, width: int | None) -> AbstractorConfig:
    """The abstractor's sizes in a checkpoint's config.json (visual_abstractor_config).

    output_size: width of the language model's embeddings. width: rows of the checkpoint's mlp.w1, None where
    it has none; it tells which of the two readings of intermediate_size holds.
    """
    values = _section(config, "visual_abstractor_config")
    stated = values.get("intermediate_size", 4096)
    rounded = stated if stated == 2816 else -(-int(2 * stated / 3) // 256) * 256
    queries = config.get("num_query_tokens", 64)
    sizes = AbstractorConfig(
        hidden_size=values.get("hidden_size", 1024),
        num_layers=values.get("num_hidden_layers", 6),
        num_heads=values.get("num_attention_heads", 16),
        intermediate_size=rounded,
        num_queries=queries,
        num_temporal_queries=queries,
        memory_size=values.get("encoder_hidden_size", 1024),
        output_size=output_size,
        ffn_layer_norm_eps=values.get("layer_norm_eps", 1e-6),
    )
    return replace(sizes, intermediate_size=stated) if width == stated else sizes


def llama_config(config: dict[str, Any]) -> Any:
    """The `transformers.LlamaConfig` of text_config, LLaMA-7B by default."""
    values = _section(config, "text_config")
    kind = values.get("model_type", "llama")
    if kind != "llama":
        raise CheckpointError(f"config.json: text_config is a {kind!r} model, only 'llama' can be converted")
    return checked_config(Path("config.json"), values or {"pad_token_id": 2})


def expected_shapes(part: str, config: Any) -> Shapes:
    """Name -> shape of every tensor of "encoder", "abstractor" or "llm"; nothing is allocated."""
    from transformers import LlamaForCausalLM

    build: dict[str, Any] = {
        "encoder": MplugOwlVideoTower,
        "abstractor": VideoAbstractor,
        "llm": LlamaForCausalLM,
    }
    with torch.device("meta"):
        shapes = {name: tuple(t.shape) for name, t in build[part](config).state_dict().items()}
    if part == "llm" and config.tie_word_embeddings:
        del shapes["lm_head.weight"]
    return shapes


def check_part(part: str, found: Shapes, wanted: Shapes, source: str, optional: set[str]) -> set[str]:
    """Compares names and shapes; returns the `optional` names that are missing.

    CheckpointError names the first tensor that is unexpected, missing or misshapen, and how many there are.
    """
    missing, extra = set(wanted) - set(found), set(found) - set(wanted)
    for kind, names in (("unexpected", extra), ("missing", missing - optional)):
        if names:
            raise CheckpointError(f"{source}: {kind} {part} tensor {sorted(names)[0]} ({len(names)} in all)")
    wrong = sorted(n for n in found if found[n] != wanted[n] and not _same_vector(found[n], wanted[n]))
    if wrong:
        hint = " (saved from a partitioned run?)" if 0 in found[wrong[0]] else ""
        raise CheckpointError(
            f"{source}: {part} tensor {wrong[0]} has shape {found[wrong[0]]}, config.json wants "
            f"{wanted[wrong[0]]}{hint} ({len(wrong)} in all)"
        )
    return missing


def _same_vector(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether the two differ in leading ones only, as the class token does between releases."""
    return [n for n in one if n != 1] == [n for n in other if n != 1] and 0 not in one


def is_temporal(part: str, name: str) -> bool:
    """Whether a tensor belongs to the temporal path, which checkpoints of the image model lack."""
    if part == "encoder":
        return ".temporal." in name
    return part == "abstractor" and name.startswith("temporal_")


def shapes_of(tensors: dict[str, Tensor]) -> Shapes:
    """Name -> shape of every tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
