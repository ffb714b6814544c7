"""The tokenizer of a GGUF file as llama.cpp reads it, where transformers would read it otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.llama_config import check_architecture
from g4v.weights.gguf_metadata import read_metadata

# How text is split before the merges of a byte-level BPE, by the names of llama.cpp (tokenizer.ggml.pre).
_GPT2 = "gpt-2 phi-2 roberta-bpe jina-es jina-de jina-v2-es jina-v2-de mpt olmo jais trillion".split()
_DIGITS = "smollm starcoder refact command-r codeshell exaone minerva-7b".split()
_LLAMA3 = "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2".split()
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

_OBEYED = set(
    """
    model pre tokens scores token_type merges add_space_prefix add_bos_token add_eos_token bos_token_id
    eos_token_id unknown_token_id padding_token_id
    """.split()
)
# Ids of tokens that no reader here looks for, and counts; none changes how text becomes tokens.
_NO_EFFECT = set(
    """
    eot_token_id eom_token_id separator_token_id seperator_token_id cls_token_id mask_token_id prefix_token_id
    suffix_token_id middle_token_id fim_pre_token_id fim_suf_token_id fim_mid_token_id fim_pad_token_id
    fim_rep_token_id fim_sep_token_id token_type_count add_sep_token
    """.split()
)
_ONLY: dict[str, tuple[Any, ...]] = {"remove_extra_whitespaces": (False,), "precompiled_charsmap": (0, [])}


def load_gguf_tokenizer(path: Path) -> Any:
    """The `transformers` fast tokenizer of a GGUF file.

    CheckpointError: the file has none, or one of another kind than SentencePiece's and byte-level BPE; or it
    says something of it that is not known here.
    """
    from transformers import AutoTokenizer

    fields = read_metadata(path).fields
    check_architecture(path, fields.get("general.architecture"))
    found = {
        n.removeprefix("tokenizer.ggml."): v for n, v in fields.items() if n.startswith("tokenizer.ggml.")
    }
    _check_keys(path, found)
    options = {"gguf_file": path.name, "use_fast": True, "trust_remote_code": False, "local_files_only": True}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, **options)
    except Exception as error:  # every library behind transformers has its own classes
        raise CheckpointError(f"{path}: cannot be loaded: {one_line(error)}") from None
    if found["model"] == "gpt2":
        _split(tokenizer, found["pre"])
    elif not found.get("add_space_prefix", True):
        _without_prefix(tokenizer)
    return _without_strangers(tokenizer, found["tokens"])


def _check_keys(path: Path, found: dict[str, Any]) -> None:
    for name, value in found.items():
        if name in _OBEYED or name in _NO_EFFECT or (name in _ONLY and value in _ONLY[name]):
            continue
        raise CheckpointError(f"{path}: tokenizer.ggml.{name} = {value!r:.80} is not supported")
    kind = found.get("model")
    if kind not in ("llama", "gpt2") or not found.get("tokens"):
        raise CheckpointError(
            f"{path}: tokenizer.ggml.model is {kind!r}, only 'llama' and 'gpt2' with their tokens are read"
        )
    if kind == "llama":  # SentencePiece, which splits nothing before
        return
    known = sorted({*_GPT2, *_DIGITS, *_LLAMA3})
    if found.get("pre") not in known:
        raise CheckpointError(
            f"{path}: tokenizer.ggml.pre is {found.get('pre')!r}, which does not say how text is split "
            f"before its merges; known are {', '.join(known)}"
        )
    if found.get("add_space_prefix"):
        raise CheckpointError(f"{path}: tokenizer.ggml.add_space_prefix is not supported for byte-level BPE")


def _split(tokenizer: Any, name: str) -> None:
    from tokenizers import Regex, pre_tokenizers

    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend = tokenizer.backend_tokenizer
    if name in _DIGITS:  # this family takes every digit for itself
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), plain]
        )
    elif name in _LLAMA3:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_LLAMA3_SPLIT), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        backend.model.ignore_merges = True  # a word that is a token is that token
    else:
        backend.pre_tokenizer = plain


def _without_prefix(tokenizer: Any) -> None:
    """No space before the text, and none taken away from an answer."""
    from tokenizers import decoders, pre_tokenizers

    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )


def _without_strangers(tokenizer: Any, count: int) -> Any:
    """Without tokens that transformers adds and the model has no row for, such as GPT-2's <|endoftext|>."""
    from tokenizers import Tokenizer

    if len(tokenizer) <= count:
        return tokenizer
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < count]
    named = {key: token for key, token in tokenizer.special_tokens_map.items() if key != "unk_token"}
    return type(tokenizer)(tokenizer_object=Tokenizer.from_str(json.dumps(state)), unk_token=None, **named)
