"""config.json of a LLaVA-NeXT-Video or Video-LLaVA checkpoint: each key is obeyed, known to change nothing of
what becomes of videos, or refused by name.
"""

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
from g4v.model.connector import ACTIVATIONS, POOLINGS

NEXT_VIDEO, VIDEO_LLAVA = "llava_next_video", "video_llava"
ARCHITECTURES = {
    "LlavaNextVideoForConditionalGeneration": NEXT_VIDEO,
    "VideoLlavaForConditionalGeneration": VIDEO_LLAVA,
}
_TOWER = "clip_vision_model"
_LANGUAGE_MODELS = ("llama", "mistral")
_OBEYED = set(
    """
    architectures model_type vision_config text_config video_token_index video_token_id vision_feature_layer
    vision_feature_select_strategy projector_hidden_act multimodal_projector_bias tie_word_embeddings
    """.split()
)
_POOLING = {"spatial_pool_mode", "spatial_pool_stride", "spatial_pool_out_channels"}
# Of still pictures, which are not read; counts of tokens that follow from the sizes; of training.
_NO_EFFECT = NO_EFFECT_HERE | set(
    """
    image_token_index image_token_id image_grid_pinpoints use_image_newline_parameter image_seq_length
    video_seq_length ignore_index
    """.split()
)
_TOWER_NO_EFFECT = ("projection_dim", "initializer_factor", "vocab_size")
# What Mistral has in place of a Llama's defaults, where config.json leaves a key out.
_SIZES = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
    "head_dim max_position_embeddings rms_norm_eps hidden_act"
).split()


@dataclass(frozen=True)
class LlavaConfig:
    """The settings of a checkpoint of the LLaVA family.

    kind: NEXT_VIDEO or VIDEO_LLAVA. vision, text: CLIPVisionConfig and LlamaConfig of transformers.
    video_token_id: stands for a video token in a prompt. layers: hidden states of the tower that stand side
    by side in its features, 0 to num_hidden_layers. class_token: whether the features of a frame begin with
    that of its class. activation, bias: of the connector. pooling: how neighbouring features are pooled
    before it; None: they are not. stride: edge of the squares that are pooled.
    """

    kind: str
    vision: Any
    text: Any
    video_token_id: int
    layers: tuple[int, ...]
    class_token: bool
    activation: str
    bias: bool
    pooling: str | None
    stride: int


def is_llava(folder: Path) -> bool:
    """Whether config.json of a folder names an architecture of the LLaVA family. CheckpointError: damaged."""
    return has_architecture(folder, ARCHITECTURES)


def read_llava_config(folder: Path) -> LlavaConfig:
    """Reads config.json of a checkpoint of the LLaVA family.

    CheckpointError: it is damaged, or has a key or value that the exported graphs would not follow; the
    message names it.
    """
    path = folder / "config.json"
    values = read_json(path, CheckpointError)
    names = values.get("architectures")
    kind = ARCHITECTURES.get(names[0]) if isinstance(names, list) and len(names) == 1 else None
    if kind is None:
        raise CheckpointError(f"{path}: architectures is {names!r:.80}")
    if values.get("model_type") != kind:
        raise CheckpointError(f"{path}: model_type is {values.get('model_type')!r:.80}, not {kind!r}")
    pools = kind == NEXT_VIDEO
    check_keys(path, "", values, _OBEYED | (_POOLING if pools else set()), _NO_EFFECT)
    vision, text = (section(path, values, key) for key in ("vision_config", "text_config"))
    check_tower_keys(path, vision, _TOWER, _TOWER_NO_EFFECT)
    kind_of_text = text.get("model_type", "llama")
    if kind_of_text not in _LANGUAGE_MODELS:
        raise CheckpointError(
            f"{path}: text_config.model_type is {kind_of_text!r:.80}: only "
            f"{' and '.join(map(repr, _LANGUAGE_MODELS))} can be used"
        )
    whole = _whole(path, kind, values)
    check_tower(path, whole.vision_config)
    config = LlavaConfig(
        kind=kind,
        vision=whole.vision_config,
        text=_text(path, text, whole),
        video_token_id=_video_token(path, values, whole),
        layers=_layers(path, whole),
        class_token=not pools,
        activation=_one_of(path, "projector_hidden_act", whole.projector_hidden_act, ACTIVATIONS),
        bias=_switch(path, "multimodal_projector_bias", whole.multimodal_projector_bias),
        pooling=_one_of(path, "spatial_pool_mode", whole.spatial_pool_mode, POOLINGS) if pools else None,
        stride=positive(path, "spatial_pool_stride", whole.spatial_pool_stride) if pools else 1,
    )
    if pools:
        _check_pooling(path, values, whole, config)
    return config


def _whole(path: Path, kind: str, values: Mapping[str, Any]) -> Any:
    """The configuration of transformers, which fills in what the file leaves out."""
    from transformers import LlavaNextVideoConfig, VideoLlavaConfig

    made: Any = LlavaNextVideoConfig if kind == NEXT_VIDEO else VideoLlavaConfig
    try:
        return made.from_dict({**values})
    except Exception as error:  # of the library behind transformers that checks types
        raise CheckpointError(f"{path}: {one_line(error)}") from None


def _text(path: Path, values: Mapping[str, Any], whole: Any) -> Any:
    own = {key: value for key, value in values.items() if key != "architectures"}
    if values.get("model_type") == "mistral":
        # Without a sliding window it computes what a Llama does.
        defaults = {name: getattr(whole.text_config, name, None) for name in _SIZES}
        own = {key: value for key, value in defaults.items() if value is not None} | own
        own |= {"model_type": "llama", "attention_bias": False, "mlp_bias": False}
        own["sliding_window"] = whole.text_config.sliding_window
    # transformers ties the head by the key of the whole model.
    own["tie_word_embeddings"] = bool(whole.tie_word_embeddings)
    return checked_config(path, own)


def _video_token(path: Path, values: Mapping[str, Any], whole: Any) -> int:
    given = {values[key] for key in ("video_token_index", "video_token_id") if values.get(key) is not None}
    if len(given) > 1:
        raise CheckpointError(f"{path}: video_token_index and video_token_id differ")
    token: Any = given.pop() if given else whole.video_token_index
    size = whole.text_config.vocab_size
    if type(token) is not int or not 0 <= token < size:
        raise CheckpointError(
            f"{path}: video_token_index is {token!r:.80}, and text_config has {size} tokens"
        )
    return token


def _layers(path: Path, whole: Any) -> tuple[int, ...]:
    """The hidden states that are read, counted from the front."""
    given = whole.vision_feature_layer
    states = whole.vision_config.num_hidden_layers + 1
    wanted = given if isinstance(given, (list, tuple)) else [given]
    if not wanted or not all(type(layer) is int and -states <= layer < states for layer in wanted):
        raise CheckpointError(
            f"{path}: vision_feature_layer is {given!r:.80}, and the tower has {states - 1} layers"
        )
    return tuple(layer % states for layer in wanted)


def _one_of(path: Path, name: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise CheckpointError(
            f"{path}: {name} is {value!r:.80}: only {', '.join(map(repr, known))} can be used"
        )
    return str(value)


def _switch(path: Path, name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise CheckpointError(f"{path}: {name} is {value!r:.80}, not true or false")
    return value


def _check_pooling(path: Path, values: Mapping[str, Any], whole: Any, config: LlavaConfig) -> None:
    if whole.vision_feature_select_strategy != "default":
        raise CheckpointError(
            f"{path}: vision_feature_select_strategy is {whole.vision_feature_select_strategy!r:.80}: the "
            "class token has no place in a square of patches, which are pooled; only 'default' can be used"
        )
    side = config.vision.image_size // config.vision.patch_size
    if config.stride > side:
        raise CheckpointError(
            f"{path}: spatial_pool_stride is {config.stride}, and a frame has {side} x {side} patches"
        )
    width = config.vision.hidden_size
    channels = values.get("spatial_pool_out_channels", width)
    if config.pooling == "conv" and (channels != width or len(config.layers) > 1):
        raise CheckpointError(
            f"{path}: spatial_pool_mode 'conv' makes {channels!r:.80} channels of {width}, and the connector "
            f"reads {width * len(config.layers)}: only {width} of one vision_feature_layer fit"
        )
