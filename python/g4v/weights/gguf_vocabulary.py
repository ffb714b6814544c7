"""The tokenizer file of a bundle, of a byte-level BPE in a GGUF file.

The exporter makes the same file by way of transformers, for every kind of tokenizer
(export/components/tokenizer.py); this is the one kind that SmolLM's models have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v.weights.errors import CheckpointError
from g4v.weights.gguf_metadata import open_reader

TOKENIZER_FORMAT = "g4v-tokenizer"
TOKENIZER_VERSION = 1  # kFormatVersion in csrc/text/tokenizer.cc

_PREFIX = "tokenizer.ggml."
_ONLY: dict[str, tuple[Any, ...]] = {
    "model": ("gpt2",),
    "pre": ("smollm",),  # every digit for itself, then GPT-2's splitting
    "add_space_prefix": (False,),
    "add_bos_token": (False,),  # both stand in the prompt of the bundle
    "add_eos_token": (False,),
}
# Ids stand in the prompt of the bundle.
_NO_EFFECT = {"bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id"}
_LISTS = ("tokens", "token_type", "merges")
_NORMAL, _CONTROL = 1, 3  # kinds of tokens


def read_vocabulary(path: Path) -> dict[str, Any]:
    """Returns the contents of the tokenizer file (docs/bundle-format.md) for the tokenizer of a GGUF file.

    CheckpointError: the file has none, or one of another kind; it names the key. Whatever the package gguf
    raises for damaged files.
    """
    fields = open_reader(path).fields
    found = {name.removeprefix(_PREFIX): fields[name] for name in fields if name.startswith(_PREFIX)}
    for name, field in found.items():
        if name in _LISTS or name in _NO_EFFECT:
            continue
        value = field.contents()
        if name not in _ONLY or value not in _ONLY[name]:
            raise CheckpointError(f"{path}: {_PREFIX}{name} = {value!r:.80} is not SmolLM's tokenizer")
    for name in ("model", "pre", *_LISTS):
        if name not in found:
            raise CheckpointError(f"{path}: {_PREFIX}{name} is missing")
    tokens, kinds, pairs = (found[name].contents() for name in _LISTS)
    ids = {token: number for number, token in enumerate(tokens)}
    if len(kinds) != len(tokens) or len(ids) != len(tokens) or not set(kinds) <= {_NORMAL, _CONTROL}:
        raise CheckpointError(f"{path}: {_PREFIX}token_type is not of normal and control tokens alone")
    try:
        merges = [
            ids[token] for left, right in (pair.split(" ") for pair in pairs) for token in (left, right)
        ]
    except (KeyError, ValueError):
        raise CheckpointError(
            f"{path}: {_PREFIX}merges has one that is not made of two known tokens"
        ) from None
    return {
        "format": TOKENIZER_FORMAT,
        "format_version": TOKENIZER_VERSION,
        "type": "byte_level_bpe",
        "normalizer": "none",
        "pre_tokenizer": "smollm2",
        "prefix_space": "never",
        "unk_token": None,
        "fuse_unk": False,
        "ignore_merges": False,
        "special_tokens": {
            t: i for i, (t, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind == _CONTROL
        },
        "added_tokens": {},
        "vocab": tokens,
        "merges": merges,
    }
