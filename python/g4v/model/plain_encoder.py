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
    state = _plain_state(tokenizer)
    first = _load(state)
    bare = _without_prefix_space(state)
    found = any(not token["special"] for token in state["added_tokens"])
    if bare != state and found and state["model"].get("byte_fallback"):
        # Only the first text between two added tokens lacks the space. Nothing merges with the byte token of
        # a zero, which is no white space that a token could take along.
        start = len(first.encode("\0", add_special_tokens=False).ids)

        def encode_later(text: str) -> list[int]:
            return first.encode("\0" + text, add_special_tokens=False).ids[start:]
    else:
        later = _load(bare)

        def encode_later(text: str) -> list[int]:
            return later.encode(text, add_special_tokens=False).ids

    def encode(text: str, first_segment: bool = True) -> list[int]:
        return first.encode(text, add_special_tokens=False).ids if first_segment else encode_later(text)

    return encode


def plain_backend(tokenizer: Any) -> Any:
    """A copy of the `tokenizers.Tokenizer` that reads special tokens in a text as plain text.

    tokenizer: of `transformers` (fast) or a `tokenizers.Tokenizer`. Added tokens that are not special are
    found as ever. Texts are neither cut nor padded, and nothing is put around them.
    """
    return _load(_plain_state(tokenizer))


def _plain_state(tokenizer: Any) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    state: dict[str, Any] = json.loads(backend.to_str())
    state["truncation"] = state["padding"] = state["post_processor"] = None
    # A merge that ends in a special token would turn plain text into one. Pairs are lists.
    special = {token["content"] for token in state["added_tokens"] if token["special"]}
    if state["model"]["type"] == "BPE":
        state["model"]["merges"] = [pair for pair in state["model"]["merges"] if "".join(pair) not in special]
    return state


def _load(state: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_str(json.dumps(state))
    loaded.encode_special_tokens = True
    return loaded


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
