"""config.json of a SmolVLM2 checkpoint: each key is obeyed, known to change nothing, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.model.bases.config_keys import (
    NO_EFFECT_HERE,
    check_keys,
    check_tower,
    check_tower_keys,
    has_architecture,
    positive,
    section,
)
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.llama_config import checked_config

ARCHITECTURE = "SmolVLMForConditionalGeneration"
_KIND, _TOWER, _LANGUAGE_MODEL = "smolvlm", "smolvlm_vision", "llama"
_OBEYED = set(
    "architectures model_type scale_factor image_token_id tie_word_embeddings text_config "
    "vision_config".split()
)
_VISION_NO_EFFECT = ("size", "max_image_size", "use_base_siglip")
# What the authors' training code wrote into text_config. The first have an effect unless they are off.
_TEXT_OFF = ("qk_layer_norms", "use_resampler")
_TEXT_NO_EFFECT = ("architectures", "neftune_noise_alpha", "perceiver_config", "tie_word_embeddings")


@dataclass(frozen=True)
class SmolVlmConfig:
    """The sizes of a SmolVLM2 checkpoint.

    vision, text: SmolVLMVisionConfig and LlamaConfig of transformers. scale_factor: patches of which, in each
    direction, one video token is made. image_token_id: stands for a video token in a prompt.
    """

    vision: Any
    text: Any
    scale_factor: int
    image_token_id: int


def is_smolvlm(folder: Path) -> bool:
    """Whether config.json of a folder names the architecture of SmolVLM2. CheckpointError: damaged."""
    return has_architecture(folder, (ARCHITECTURE,))


def read_smolvlm_config(folder: Path) -> SmolVlmConfig:
    """Reads config.json of a SmolVLM2 checkpoint.

    CheckpointError: it is damaged, or has a key or value that the exported graphs would not follow; the
    message names it.
    """
    path = folder / "config.json"
    values = read_json(path, CheckpointError)
    if values.get("architectures") != [ARCHITECTURE]:
        raise CheckpointError(f"{path}: architectures is {values.get('architectures')!r:.80}")
    if values.get("model_type") != _KIND:
        raise CheckpointError(f"{path}: model_type is {values.get('model_type')!r:.80}, not {_KIND!r}")
    vision, text = (section(path, values, key) for key in ("vision_config", "text_config"))
    scale = positive(path, "scale_factor", values.get("scale_factor", 2))
    image = values.get("image_token_id", 128257)
    if type(image) is not int or image < 0:
        raise CheckpointError(f"{path}: image_token_id is {image!r:.80}, not a token")
    check_keys(path, "", values, _OBEYED, NO_EFFECT_HERE)
    config = SmolVlmConfig(_vision(path, vision), _text(path, text, values, scale), scale, image)
    if image >= config.text.vocab_size:
        raise CheckpointError(
            f"{path}: image_token_id is {image}, and text_config has {config.text.vocab_size} tokens"
        )
    return config


def _vision(path: Path, values: dict[str, Any]) -> Any:
    from transformers import SmolVLMVisionConfig

    check_tower_keys(path, values, _TOWER, _VISION_NO_EFFECT)
    try:
        config: Any = SmolVLMVisionConfig.from_dict(dict(values))
    except Exception as error:  # of the library behind transformers that checks types
        raise CheckpointError(f"{path}: vision_config: {one_line(error)}") from None
    check_tower(path, config)
    return config


def _text(path: Path, values: dict[str, Any], whole: Mapping[str, Any], scale: int) -> Any:
    kind = values.get("model_type", _LANGUAGE_MODEL)
    if kind != _LANGUAGE_MODEL:
        raise CheckpointError(
            f"{path}: text_config.model_type is {kind!r:.80}: only {_LANGUAGE_MODEL!r} can be used"
        )
    for key in _TEXT_OFF:
        if values.get(key):
            raise CheckpointError(f"{path}: text_config.{key} = {values[key]!r:.80} is not supported")
    if values.get("pixel_shuffle_factor", scale) != scale:
        raise CheckpointError(
            f"{path}: text_config.pixel_shuffle_factor is {values['pixel_shuffle_factor']!r:.80}, and "
            f"scale_factor {scale}"
        )
    seen = {*_TEXT_OFF, *_TEXT_NO_EFFECT, "pixel_shuffle_factor"}
    own = {key: value for key, value in values.items() if key not in seen}
    # transformers ties the head by the key of the whole model.
    own["tie_word_embeddings"] = whole.get("tie_word_embeddings", False)
    return checked_config(path, own)
