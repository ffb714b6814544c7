"""What is read of T5 and UMT5 text encoders (T5EncoderModel, UMT5EncoderModel of transformers).

LTX-Video has the first, Wan the second. Each key of config.json is obeyed, known to have no effect here, or
refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from g4v._console import printable
from g4v.export.checkpoint.loading import StoredModule, open_module
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.weight_files import open_weights
from g4v.model.config import MOST_LAYERS, MOST_SIZE

CLASSES = {"T5EncoderModel": "t5", "UMT5EncoderModel": "umt5"}
"""Class of transformers -> its model_type."""

_STEM = "model"  # of its weight files
EMBEDDING = "encoder.embed_tokens.weight"
SHARED = "shared.weight"  # another name of it
_SIZES = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")
_BUCKETS = ("relative_attention_num_buckets", "relative_attention_max_distance")
_FEED_FORWARD = {"relu": ("relu", False), "gated-gelu": ("gelu_new", True)}
_OBEYED = {*_SIZES, *_BUCKETS, "layer_norm_epsilon", "feed_forward_proj"}
_NO_EFFECT = {
    "architectures", "model_type",  # read apart
    "_name_or_path", "transformers_version", "dtype", "torch_dtype",
    "dropout_rate", "classifier_dropout", "initializer_factor", "initializer_range",  # of training
    # Of the decoder, which is not there.
    "num_decoder_layers", "decoder_start_token_id", "is_encoder_decoder", "use_cache", "tie_word_embeddings",
    "scale_decoder_outputs", "pad_token_id", "eos_token_id", "bos_token_id",
    # transformers reads none of these.
    "n_positions", "output_past", "scalable_attention", "task_specific_params", "tokenizer_class",
    "use_attention_mask",  # read by g4v.export.checkpoint.captions
}  # fmt: skip


def is_t5(values: Mapping[str, Any]) -> bool:
    """Whether a config.json is of T5 or UMT5. values: what it holds."""
    classes = values.get("architectures")
    named = isinstance(classes, list) and bool(set(map(str, classes)) & set(CLASSES))
    return named or values.get("model_type") in tuple(CLASSES.values())


def check_t5(path: Path, values: Mapping[str, Any]) -> None:
    """Checks every key of the config.json at `path`, for which `is_t5`.

    ExportError: a key is missing, unknown, of a wrong type or out of range, or asks for something else than
    an encoder.
    """
    classes, kind = values.get("architectures"), values.get("model_type")
    named = classes if isinstance(classes, list) else [classes]
    known = isinstance(classes, list) and len(named) == 1 and named[0] in tuple(CLASSES)
    if classes is not None and not known:
        names = printable(", ".join(map(str, named)))
        raise ExportError(
            f"{path}: is of the class {names:.80} with the model_type {kind!r:.80}, "
            f"not {' or '.join(CLASSES)}"
        )
    if known and kind is not None and CLASSES[str(named[0])] != kind:
        expected = CLASSES[str(named[0])]
        raise ExportError(f"{path}: {named[0]} has the model_type {expected!r}, not {kind!r:.80}")
    derived = {"dense_act_fn", "is_gated_act"}
    for key in values:
        if key not in _OBEYED and key not in _NO_EFFECT and key not in derived and key != "is_decoder":
            raise ExportError(f"{path}: unknown key {key!r}: its effect on the network is not supported")
    for key in (*_SIZES, "feed_forward_proj"):
        if key not in values:
            raise ExportError(f"{path}: {key} is missing")
    for key in (*_SIZES, *_BUCKETS):
        most = MOST_LAYERS if key == "num_layers" else MOST_SIZE
        value = values.get(key, 32)
        if type(value) is not int or not 1 <= value <= most:
            raise ExportError(f"{path}: {key} is {value!r:.80} but must be an integer from 1 to {most}")
    _check_buckets(path, values)
    epsilon = values.get("layer_norm_epsilon", 1e-6)
    if type(epsilon) not in (int, float) or not 0 <= epsilon < 1:
        raise ExportError(
            f"{path}: layer_norm_epsilon is {epsilon!r:.80} but must be a number from 0 to below 1"
        )
    form = values["feed_forward_proj"]
    if form not in tuple(_FEED_FORWARD):
        raise ExportError(
            f"{path}: feed_forward_proj {form!r:.80} is not supported, only {', '.join(_FEED_FORWARD)}"
        )
    function, gated = _FEED_FORWARD[form]
    for key, wanted in (("dense_act_fn", function), ("is_gated_act", gated), ("is_decoder", False)):
        if values.get(key, wanted) != wanted:
            raise ExportError(
                f"{path}: {key} is {values[key]!r:.80}, but an encoder with feed_forward_proj {form!r} has "
                f"{wanted!r}"
            )


def _check_buckets(path: Path, values: Mapping[str, Any]) -> None:
    """Half of the buckets are for each direction, half of those for distances of their own."""
    buckets, distance = (values.get(key, default) for key, default in zip(_BUCKETS, (32, 128), strict=True))
    if buckets < 4 or distance <= buckets // 4:
        raise ExportError(
            f"{path}: {_BUCKETS[0]} is {buckets} and {_BUCKETS[1]} is {distance}, but the first must be at "
            "least 4 and the second larger than a quarter of it"
        )


def open_t5(
    folder: Path, values: Mapping[str, Any], variant: str | None = None, stem: str = _STEM
) -> StoredModule:
    """Returns the encoder of `folder`, its weights still unread.

    values: its config.json, checked (`check_t5`). variant, stem: of the weight files. ExportError: as for
    `open_module`.
    """
    try:
        stored = open_weights(folder, stem, variant).shapes
    except CheckpointError as error:
        raise ExportError(str(error)) from None
    both = EMBEDDING in stored and SHARED in stored

    def rename(name: str, wanted: Any) -> str:
        return EMBEDDING if name == SHARED and not both else name

    # Where both names are stored, `load_t5` compares them.
    return open_module(folder, stem, _maker(values), rename, (SHARED,) if both else (), variant)


def _maker(values: Mapping[str, Any]) -> Callable[[], Any]:
    from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

    umt5 = values.get("model_type") == "umt5" or values.get("architectures") == ["UMT5EncoderModel"]

    def make() -> Any:
        given = {key: value for key, value in values.items() if key in _OBEYED}
        given |= {"use_cache": False, "is_encoder_decoder": False}
        made: Any = UMT5EncoderModel(UMT5Config(**given)) if umt5 else T5EncoderModel(T5Config(**given))
        del made.shared  # the encoder's own embedding is what it computes with
        return made

    return make


def load_t5(opened: StoredModule) -> Any:
    """Returns the encoder with its weights mapped. opened: by `open_t5`.

    ExportError: as for `StoredModule.map`, or the two names of the embedding hold different numbers.
    """
    model, files = opened.map(), opened.files
    if EMBEDDING in files.shapes and SHARED in files.shapes:
        weight = model.encoder.embed_tokens.weight
        if not torch.equal(files.read(SHARED, weight.dtype), weight):
            raise ExportError(
                f"{files.place(SHARED)}: {SHARED} and {EMBEDDING} differ, and are names of one tensor"
            )
    return model
