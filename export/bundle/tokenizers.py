"""Writes the tokenizer files of a bundle."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.tokenizer import write_tokenizer
from g4v.export.errors import ExportError

_CLIP_TOKENS = 49408  # the default of transformers' CLIPTextConfig


def check_vocabularies(checkpoint: Checkpoint, components: Collection[str]) -> None:
    """Raises ExportError where a tokenizer, or the prompt, has tokens that its model has no embedding for.

    components: those that are exported.
    """
    if "decoder" in components:
        prompt = checkpoint.prompt
        ids = {prompt.turn_end_id, prompt.bos_id or 0, *prompt.stop_ids, *prompt.special_tokens.values()}
        size, tokens = checkpoint.llm().config.vocab_size, len(checkpoint.tokenizer("decoder"))
        if max(tokens, *(number + 1 for number in ids)) > size:
            raise ExportError(
                f"{checkpoint.parts['llm']}: the model has {size} embeddings, fewer than its tokens"
            )
    if "text_encoder" in components:
        place = checkpoint.parts["t2v"] / "text_encoder"
        size = int(read_json(place / "config.json", ExportError).get("vocab_size", _CLIP_TOKENS))
        tokens = len(checkpoint.tokenizer("text_encoder"))
        if tokens > size:
            raise ExportError(f"{place}: has {size} embeddings, fewer than the {tokens} of its tokenizer")


def write_tokenizers(checkpoint: Checkpoint, folder: Path, components: Collection[str]) -> dict[str, Any]:
    """Writes the tokenizers that `components` need into `folder`; returns "tokenizers" of the manifest.

    Decoder and text encoder share one file where both would be the same.
    ExportError: a tokenizer cannot be exported, or that of the text encoder has no pad token.
    """
    specs: dict[str, Any] = {}
    if "decoder" in components:
        write_tokenizer(checkpoint.tokenizer_source("decoder"), folder / "tokenizer.json")
        specs["decoder"] = {"file": "tokenizer.json"}
    if "text_encoder" in components:
        path = folder / "text_tokenizer.json"
        write_tokenizer(checkpoint.tokenizer_source("text_encoder"), path)
        other = folder / "tokenizer.json"
        if other.exists() and other.read_bytes() == path.read_bytes():
            path.unlink()
            path = other
        tokenizer = checkpoint.tokenizer("text_encoder")
        if tokenizer.pad_token_id is None:
            raise ExportError(f"{checkpoint.tokenizer_source('text_encoder')}: has no pad token")
        specs["text_encoder"] = {
            "file": path.name,
            "bos": tokenizer.bos_token_id,
            "eos": tokenizer.eos_token_id,
            "pad": tokenizer.pad_token_id,
        }
    return specs
