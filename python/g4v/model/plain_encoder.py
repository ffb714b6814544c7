"""Token ids of plain text from a Hugging Face tokenizer, as the runtime's own tokenizer gives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

# encode(text, first_segment) -> ids; special tokens are never recognised inside the text.
Encode = Callable[[str, bool], list[int]]


def plain_encoder(tokenizer: Any) -> Encode:
    """The encode function of a `transformers` fast tokenizer or a `tokenizers.Tokenizer`.

    It adds no special tokens and recognises none. Later segments get no dummy prefix space, which
    SentencePiece-style tokenizers put before the first one.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    state = json.loads(backend.to_str())
    state["truncation"] = state["padding"] = None
    first = Tokenizer.from_str(json.dumps(state))
    later = Tokenizer.from_str(json.dumps(_without_prefix_space(state)))
    for each in (first, later):
        each.encode_special_tokens = True

    def encode(text: str, first_segment: bool = True) -> list[int]:
        chosen = first if first_segment else later
        return chosen.encode(text, add_special_tokens=False).ids

    return encode


def _without_prefix_space(state: dict[str, Any]) -> dict[str, Any]:
    """The serialised tokenizer without what puts a dummy space in front of SentencePiece-style text."""
    state = json.loads(json.dumps(state))
    normalizer = state.get("normalizer")
    if normalizer and normalizer["type"] == "Prepend":
        state["normalizer"] = None
    elif normalizer and normalizer["type"] == "Sequence":
        normalizer["normalizers"] = [n for n in normalizer["normalizers"] if n["type"] != "Prepend"]
    splitter = state.get("pre_tokenizer")
    for part in [splitter, *(splitter or {}).get("pretokenizers", [])]:
        if part and part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
    return state
