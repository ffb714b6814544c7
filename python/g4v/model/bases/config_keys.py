"""What the readers of config.json of video language models share: keys obeyed, harmless or refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.llama_config import NO_EFFECT
from g4v.model.config import MOST_LAYERS, MOST_SIZE
from g4v.model.connector import ACTIVATIONS

TOWER_SIZES = set(
    "hidden_size intermediate_size num_hidden_layers num_attention_heads image_size patch_size".split()
)
_TOWER_OBEYED = TOWER_SIZES | {"hidden_act", "layer_norm_eps", "num_channels", "model_type"}
# Beside those of any Llama: pad_token_id pads batches, which are never padded here. The sizes of images stand
# in the processor's files, too, and it is they that the processor obeys.
NO_EFFECT_HERE = NO_EFFECT | set(
    "pad_token_id _pad_token_id bos_token_id eos_token_id vocab_size use_reentrant_checkpointing".split()
)
_TOWER_NO_EFFECT = NO_EFFECT | {"attention_dropout", "tie_word_embeddings", "architectures"}


def section(path: Path, values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object below a key. CheckpointError: it is missing, or no object."""
    found = values.get(key)
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: {key} is {'missing' if found is None else 'not an object'}")
    return found


def check_keys(
    path: Path, place: str, values: Mapping[str, Any], obeyed: Collection[str], harmless: Collection[str]
) -> None:
    """CheckpointError names the first key that is neither, and holds something. place: what stands before."""
    for key, value in values.items():
        if key not in obeyed and key not in harmless and value not in (None, [], {}):
            raise CheckpointError(f"{path}: {place}{key} = {value!r:.80} is not supported")


def positive(path: Path, name: str, value: Any, most: int = MOST_SIZE) -> int:
    """The value. CheckpointError unless it is an integer from 1 to `most`."""
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{path}: {name} is {value!r:.80}, not a positive number")
    if value > most:
        raise CheckpointError(f"{path}: {name} is {value!r:.80}, but at most {most} are read")
    return value


def check_tower_keys(path: Path, values: Mapping[str, Any], kind: str, harmless: Collection[str]) -> None:
    """Checks the keys of vision_config and the ranges of its sizes.

    kind: the model_type that can be used. harmless: keys that change nothing, beside the common ones.
    CheckpointError names the key.
    """
    place, found = "vision_config.", values.get("model_type", kind)
    if found != kind:
        raise CheckpointError(f"{path}: {place}model_type is {found!r:.80}: only {kind!r} can be used")
    check_keys(path, place, values, _TOWER_OBEYED, _TOWER_NO_EFFECT | set(harmless))
    for name in sorted(TOWER_SIZES & set(values)):
        most = MOST_LAYERS if name == "num_hidden_layers" else MOST_SIZE
        positive(path, place + name, values[name], most)


def check_tower(path: Path, config: Any) -> None:
    """Checks values of a tower's configuration, an object of transformers, whose sizes have been checked.

    CheckpointError names the key.
    """
    place = "vision_config."
    if config.hidden_act not in ACTIVATIONS:
        raise CheckpointError(
            f"{path}: {place}hidden_act {config.hidden_act!r:.80} is not supported, only "
            f"{', '.join(map(repr, ACTIVATIONS))}"
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


def has_architecture(folder: Path, architectures: Collection[str]) -> bool:
    """Whether config.json of a folder names one of these. CheckpointError: it is damaged."""
    path = folder / "config.json"
    if not path.is_file():
        return False
    names = read_json(path, CheckpointError).get("architectures")
    return isinstance(names, list) and any(name in architectures for name in map(str, names))
