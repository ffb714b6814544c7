"""config.json of a SmolVLM2 checkpoint: each key is obeyed, known to change nothing, or refused by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.llama_config import NO_EFFECT, checked_config
from g4v.model.config import MOST_LAYERS, MOST_SIZE

ARCHITECTURE = "SmolVLMForConditionalGeneration"
_KIND, _TOWER, _LANGUAGE_MODEL = "smolvlm", "smolvlm_vision", "llama"
_OBEYED = set(
    "architectures model_type scale_factor image_token_id tie_word_embeddings text_config "
    "vision_config".split()
)
_VISION_SIZES = set(
    "hidden_size intermediate_size num_hidden_layers num_attention_heads image_size patch_size".split()
)
_VISION_OBEYED = _VISION_SIZES | {"hidden_act", "layer_norm_eps", "num_channels", "model_type"}
# Beside those of any Llama: pad_token_id pads batches, which are never padded here. The sizes of images stand
# in the processor's files, too, and it is they that the processor obeys.
_NO_EFFECT_HERE = NO_EFFECT | set(
    "pad_token_id _pad_token_id bos_token_id eos_token_id vocab_size use_reentrant_checkpointing".split()
)
_VISION_NO_EFFECT = NO_EFFECT | set(
    "attention_dropout size max_image_size use_base_siglip tie_word_embeddings architectures".split()
)
# What the authors' training code wrote into text_config. The first have an effect unless they are off.
_TEXT_OFF = ("qk_layer_norms", "use_resampler")
_TEXT_NO_EFFECT = ("architectures", "neftune_noise_alpha", "perceiver_config", "tie_word_embeddings")
_ACTIVATIONS = ("gelu_pytorch_tanh", "gelu", "quick_gelu")


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
    path = folder / "config.json"
    if not path.is_file():
        return False
    names = read_json(path, CheckpointError).get("architectures")
    return isinstance(names, list) and ARCHITECTURE in names


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
    vision, text = (_section(path, values, key) for key in ("vision_config", "text_config"))
    scale = _positive(path, "scale_factor", values.get("scale_factor", 2))
    image = values.get("image_token_id", 128257)
    if type(image) is not int or image < 0:
        raise CheckpointError(f"{path}: image_token_id is {image!r:.80}, not a token")
    _check_keys(path, "", values, _OBEYED, _NO_EFFECT_HERE)
    config = SmolVlmConfig(_vision(path, vision), _text(path, text, values, scale), scale, image)
    if image >= config.text.vocab_size:
        raise CheckpointError(
            f"{path}: image_token_id is {image}, and text_config has {config.text.vocab_size} tokens"
        )
    return config


def _section(path: Path, values: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key)
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: {key} is {'missing' if found is None else 'not an object'}")
    return found


def _check_keys(
    path: Path, place: str, values: Mapping[str, Any], obeyed: Collection[str], harmless: Collection[str]
) -> None:
    for key, value in values.items():
        if key not in obeyed and key not in harmless and value not in (None, [], {}):
            raise CheckpointError(f"{path}: {place}{key} = {value!r:.80} is not supported")


def _positive(path: Path, name: str, value: Any, most: int = MOST_SIZE) -> int:
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{path}: {name} is {value!r:.80}, not a positive number")
    if value > most:
        raise CheckpointError(f"{path}: {name} is {value!r:.80}, but at most {most} are read")
    return value


def _vision(path: Path, values: dict[str, Any]) -> Any:
    from transformers import SmolVLMVisionConfig

    place = "vision_config."
    kind = values.get("model_type", _TOWER)
    if kind != _TOWER:
        raise CheckpointError(f"{path}: {place}model_type is {kind!r:.80}: only {_TOWER!r} can be used")
    _check_keys(path, place, values, _VISION_OBEYED, _VISION_NO_EFFECT)
    for name in sorted(_VISION_SIZES & set(values)):
        most = MOST_LAYERS if name == "num_hidden_layers" else MOST_SIZE
        _positive(path, place + name, values[name], most)
    try:
        config: Any = SmolVLMVisionConfig.from_dict(dict(values))
    except Exception as error:  # of the library behind transformers that checks types
        raise CheckpointError(f"{path}: {place[:-1]}: {one_line(error)}") from None
    if config.hidden_act not in _ACTIVATIONS:
        raise CheckpointError(
            f"{path}: {place}hidden_act {config.hidden_act!r:.80} is not supported, only "
            f"{', '.join(map(repr, _ACTIVATIONS))}"
        )
    if config.num_channels != 3:
        raise CheckpointError(f"{path}: {place}num_channels is {config.num_channels!r:.80}, not 3")
    eps = config.layer_norm_eps
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise CheckpointError(f"{path}: {place}layer_norm_eps is {eps!r:.80}, not a number from 0 to 1")
    if config.hidden_size % config.num_attention_heads:
        raise CheckpointError(
            f"{path}: {place}hidden_size is {config.hidden_size}, no multiple of num_attention_heads, "
            f"{config.num_attention_heads}"
        )
    if config.image_size < config.patch_size:
        raise CheckpointError(
            f"{path}: {place}image_size is {config.image_size}, less than patch_size, {config.patch_size}"
        )
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
