"""Hugging Face tokenizers to the tokenizer file of a bundle, which csrc/text reads.

The file is JSON, and self-contained: nothing of it names a class that would have to be looked up elsewhere.

    format, format_version   "g4v-tokenizer", 1
    type                     "byte_level_bpe", "sentencepiece_bpe", "clip_bpe" or "unigram"
    vocab                    token strings in the order of their ids; null where an id has no token
    special_tokens           {token: id} that text never gives, and that decode to nothing
    unk_token                a token of the vocabulary, or null

Of the three types with merges:

    merges                   ids of the joined pairs in the order of rank: [left, right, left, right, ...]
    added_tokens             {token: id} of added tokens that decode to text
    fuse_unk, ignore_merges  as in the BPE model of `tokenizers`
    prefix_space             a space before the text: "never", "always" or "unless_present"
    text_tokens              only where added tokens are not special: these are found in texts, and special
                             ones hide what they overlap. A list of {content, decodes_to, normalized, lstrip,
                             rstrip}
    spaces                   SentencePiece with text_tokens only: which texts between them get the space, and
                             when: "normalizer", "first" or "always"
    normalizer               byte-level only: "none", "nfc" or "clip"
    pre_tokenizer            byte-level only: a name of csrc/text/pre_tokenizer.h
    byte_fallback            SentencePiece only: characters outside the vocabulary become byte tokens
    strip_leading_space      SentencePiece only: decoding takes one leading space off

Of "unigram", which g4v.export.components.unigram writes; what is not said here is as in SentencePiece's
ModelProto:

    scores                   of each token of vocab, float32
    user_defined, unused     ids of tokens that are always found in a text, and of those that never are
    byte_fallback            characters outside the vocabulary become byte tokens
    add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, treat_whitespace_as_suffix
    precompiled_charsmap     base64 of the model's normalisation (csrc/text/charsmap.h); "" for none
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from g4v._files import write_text
from g4v.export.checkpoint.sentencepiece_model import UnigramModel
from g4v.export.checkpoint.tokenizer import load_backend
from g4v.export.components.unigram import convert_unigram
from g4v.export.errors import ExportError
from g4v.weights.gguf_vocabulary import TOKENIZER_FORMAT, TOKENIZER_VERSION

_SPACE = "\u2581"  # SentencePiece's sign for a space
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Regular expression and behaviour of a Split pre-tokenizer -> its name in the file.
_SPLITS = {
    (_GPT2, "Isolated", False): "gpt2",
    (_LLAMA3 % "{1,3}", "Isolated", False): "llama3",
    (_LLAMA3 % "", "Isolated", False): "qwen2",
    (_CLIP_WORDS, "Removed", True): "clip",
    (r"<\|startoftext\|>|<\|endoftext\|>|" + _CLIP_WORDS, "Removed", True): "clip_special",
}


def write_tokenizer(source: Any, path: str | Path) -> None:
    """Writes the tokenizer file of a bundle.

    `source` is a folder of a Hugging Face model, a tokenizer.json, a `tokenizers.Tokenizer`, a fast tokenizer
    of transformers or a `UnigramModel`. Raises `ExportError` where the tokenizer has a part that the runtime
    does not know.
    """
    text = json.dumps(convert_tokenizer(source), ensure_ascii=False, separators=(",", ":"))
    write_text(path, text + "\n", ExportError)


def convert_tokenizer(source: Any) -> dict[str, Any]:
    """The contents of the tokenizer file; `source` and errors as in `write_tokenizer`."""
    if isinstance(source, UnigramModel):
        return convert_unigram(source)
    backend = load_backend(source)
    config = json.loads(backend.to_str())
    model = config["model"]
    if model.get("type") != "BPE":
        hint = ", and Unigram of text encoders" if model.get("type") == "Unigram" else ""
        raise ExportError(f"the tokenizer's model is {model.get('type')}, the runtime knows BPE only{hint}")
    if model.get("dropout"):
        raise ExportError("the tokenizer drops merges at random (BPE dropout), which the runtime does not")
    if model.get("continuing_subword_prefix"):
        raise ExportError("the tokenizer marks the inside of words, which the runtime does not know")
    ids = model["vocab"]
    vocab: list[str | None] = [None] * (max(ids.values(), default=-1) + 1)
    for token, number in ids.items():
        vocab[number] = token
    try:
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        merges = [ids[token] for left, right in pairs for token in (left, right)]
    except (KeyError, ValueError) as error:
        raise ExportError(f"a merge of the tokenizer is not made of two known tokens: {error}") from error
    added = config.get("added_tokens") or []
    kind = _recognise(config)
    return {
        "format": TOKENIZER_FORMAT,
        "format_version": TOKENIZER_VERSION,
        **kind,
        **_text_tokens(backend, config, kind),
        "unk_token": model.get("unk_token"),
        "fuse_unk": bool(model.get("fuse_unk")),
        "ignore_merges": bool(model.get("ignore_merges")),
        "special_tokens": {token["content"]: token["id"] for token in added if token["special"]},
        "added_tokens": {token["content"]: token["id"] for token in added if not token["special"]},
        "vocab": vocab,
        "merges": merges,
    }


def _text_tokens(backend: Any, config: dict[str, Any], kind: dict[str, Any]) -> dict[str, Any]:
    """The keys of added tokens that are found in texts; none where all added tokens are special."""
    added = config.get("added_tokens") or []
    found = [token for token in added if not token["special"]]
    if not found:
        return {}
    for token in found:
        if token["single_word"]:
            raise ExportError(
                f"the added token {token['content']!r} is found as a whole word only (single_word), which "
                "the runtime does not know; save the tokenizer with single_word=False for it"
            )
    if kind["type"] != "sentencepiece_bpe" and kind["prefix_space"] != "never":
        raise ExportError(
            f"the tokenizer puts a space before every text between added tokens such as "
            f"{found[0]['content']!r} (add_prefix_space), which the runtime does not know; save it with "
            "add_prefix_space=False"
        )
    flags = ("normalized", "lstrip", "rstrip")
    # Where two could be found at one place, `tokenizers` prefers the special one.
    ordered = sorted(added, key=lambda token: not token["special"])
    result: dict[str, Any] = {
        "text_tokens": [
            {
                "content": token["content"],
                # Releases of `tokenizers` differ in whether that is the normalised content.
                "decodes_to": backend.id_to_token(token["id"]),
                **{flag: token[flag] for flag in flags},
            }
            for token in ordered
        ]
    }
    if kind["type"] == "sentencepiece_bpe":
        steps = _steps(config, "pre_tokenizer")
        result["spaces"] = "normalizer" if not steps else _METASPACE[steps[0]["prepend_scheme"]]
    return result


# When a Metaspace pre-tokenizer puts the space; where it never does, both are the same.
_METASPACE = {"first": "first", "always": "always", "never": "first"}


def _recognise(config: dict[str, Any]) -> dict[str, Any]:
    """Type, normalizer, pre-tokenizer and decoder as keys of the file."""
    suffix = config["model"].get("end_of_word_suffix") or ""
    if suffix not in ("", "</w>"):
        raise ExportError(f"the tokenizer ends words with {suffix!r}; the runtime knows '</w>' only")
    decoders = _steps(config, "decoder")
    if [step["type"] for step in decoders] == ["ByteLevel"]:
        if config["model"].get("byte_fallback"):
            raise ExportError("the tokenizer is byte-level and has byte fallback too, which is not known")
        return {
            "type": "clip_bpe" if suffix else "byte_level_bpe",
            "normalizer": _normalizer(_steps(config, "normalizer")),
            **_pre_tokenizer(_steps(config, "pre_tokenizer")),
        }
    if suffix:
        raise ExportError("the tokenizer ends words with '</w>' but is not byte-level, which is not known")
    return {
        "type": "sentencepiece_bpe",
        "prefix_space": _prefix_space(_steps(config, "normalizer"), _steps(config, "pre_tokenizer")),
        "byte_fallback": bool(config["model"].get("byte_fallback")),
        "strip_leading_space": _strips_leading_space(decoders),
    }


def _steps(config: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """The steps of a normalizer, pre-tokenizer or decoder, sequences flattened."""

    def flatten(step: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        if step is None:
            return
        if step["type"] != "Sequence":
            yield step
            return
        for inner in step.get("normalizers") or step.get("pretokenizers") or step.get("decoders") or []:
            yield from flatten(inner)

    return list(flatten(config.get(part)))


def _unknown(part: str, steps: list[dict[str, Any]]) -> ExportError:
    shown = json.dumps(steps, ensure_ascii=False)
    return ExportError(f"the runtime does not know the tokenizer's {part}: {shown[:300]}")


def _is(step: dict[str, Any], **expected: Any) -> bool:
    return all(step.get(key) == value for key, value in expected.items())


def _normalizer(steps: list[dict[str, Any]]) -> str:
    if not steps:
        return "none"
    if [step["type"] for step in steps] == ["NFC"]:
        return "nfc"
    clip = [step["type"] for step in steps] == ["NFC", "Replace", "Lowercase"]
    if clip and _is(steps[1], pattern={"Regex": r"\s+"}, content=" "):
        return "clip"
    raise _unknown("normalizer", steps)


def _pre_tokenizer(steps: list[dict[str, Any]]) -> dict[str, Any]:
    if not steps or steps[-1]["type"] != "ByteLevel" or len(steps) > 2:
        raise _unknown("pre-tokenizer", steps)
    prefix, use_regex = steps[-1]["add_prefix_space"], steps[-1].get("use_regex", True)
    if len(steps) == 1:
        return {
            "pre_tokenizer": "gpt2" if use_regex else "none",
            "prefix_space": "unless_present" if prefix else "never",
        }
    first, name = steps[0], None
    if _is(first, type="Digits", individual_digits=True) and use_regex:
        name = "smollm2"
    elif first["type"] == "Split":
        key = (first["pattern"].get("Regex"), first["behavior"], first["invert"])
        name = _SPLITS.get(key)
        # GPT-2's splitting comes on top only where nothing is left for it to split.
        if name is not None and use_regex != name.startswith("clip"):
            name = None
    # A space before every piece, not only before the text, is in no model that we know.
    if name is None or prefix:
        raise _unknown("pre-tokenizer", steps)
    return {"pre_tokenizer": name, "prefix_space": "never"}


def _prefix_space(normalizer: list[dict[str, Any]], pre_tokenizer: list[dict[str, Any]]) -> str:
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    if not pre_tokenizer and normalizer == [{"type": "Prepend", "prepend": _SPACE}, replace]:
        return "always"
    if not pre_tokenizer and normalizer == [replace]:
        return "never"
    if not normalizer and len(pre_tokenizer) == 1:
        step = pre_tokenizer[0]
        if _is(step, type="Metaspace", replacement=_SPACE, split=False):
            return "never" if step["prepend_scheme"] == "never" else "unless_present"
    raise _unknown("normalizer and pre-tokenizer", normalizer + pre_tokenizer)


def _strips_leading_space(decoders: list[dict[str, Any]]) -> bool:
    known = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    if decoders not in (known, known[:3]):
        raise _unknown("decoder", decoders)
    return len(decoders) == 4
