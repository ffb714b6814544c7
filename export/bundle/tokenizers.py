"""Writes the tokenizer files of a bundle."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.export.checkpoint.pipelines import check_caption_tokenizer
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.sentencepiece_model import read_unigram
from g4v.export.checkpoint.tokenizer import caption_backend
from g4v.export.components.tokenizer import write_tokenizer
from g4v.export.errors import ExportError
from g4v.export.verify.tokenizer import verify_tokenizer, verify_words

_SAMPLES = 200  # random texts that a written tokenizer is compared on

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
        check_caption_tokenizer(checkpoint.parts["t2v"])
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
        _write(checkpoint.tokenizer_source("decoder"), folder / "tokenizer.json")
        specs["decoder"] = {"file": "tokenizer.json"}
    if "text_encoder" in components:
        path = folder / "text_tokenizer.json"
        tokenizer = checkpoint.tokenizer("text_encoder")
        _check_ends(tokenizer)
        if tokenizer.backend_tokenizer.model.__class__.__name__ == "Unigram":
            _write(read_unigram(checkpoint.tokenizer_source("text_encoder"), tokenizer), path)
            verify_words(path, tokenizer)
        else:
            _write(caption_backend(tokenizer), path)
        other = folder / "tokenizer.json"
        if other.exists() and other.read_bytes() == path.read_bytes():
            path.unlink()
            path = other
        if tokenizer.pad_token_id is None:
            raise ExportError(f"{checkpoint.tokenizer_source('text_encoder')}: has no pad token")
        specs["text_encoder"] = {
            "file": path.name,
            "bos": tokenizer.bos_token_id,
            "eos": tokenizer.eos_token_id,
            "pad": tokenizer.pad_token_id,
        }
    return specs


def _write(source: Any, path: Path) -> None:
    write_tokenizer(source, path)
    verify_tokenizer(path, source, _SAMPLES)


def _check_ends(tokenizer: Any) -> None:
    """ExportError: the tokenizer puts something other than its bos and eos token around a caption.

    One that puts nothing there is of a model that was trained with both all the same, as g4v's own are.
    """
    words = tokenizer("a", add_special_tokens=False).input_ids
    ends = [tokenizer.bos_token_id, *words, tokenizer.eos_token_id]
    wanted = [number for number in ends if number is not None]
    given = tokenizer("a").input_ids
    if given not in (wanted, words):
        raise ExportError(
            f"the text encoder's tokenizer makes {given} of a caption, and the runtime {wanted}; set "
            "bos_token and eos_token to what its post processor puts there"
        )
