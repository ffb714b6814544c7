"""Trains the byte-level BPE tokenizers of the embedded default, with Hugging Face `tokenizers`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from g4v.shapes.world.world import BACKGROUNDS, TRIPLES, Object, Scene, caption

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
PAD_ID, BOS_ID, EOS_ID = 0, 1, 2


def train_byte_level_bpe(texts: Iterable[str], vocab_size: int) -> Any:
    """A `transformers.PreTrainedTokenizerFast` with <pad> 0, <s> 1, </s> 2 and GPT-2's splitting rule."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def caption_tokenizer() -> Any:
    """The text encoder's tokenizer: every word of the caption grammar is one token."""
    texts = [caption(Scene((triple,), background)) for triple in TRIPLES for background in BACKGROUNDS]
    first, second = Object("red", "circle", "left"), Object("blue", "star", "up")
    texts += [caption(Scene((first, second)))] * 20
    texts += ["a skull sign and a red circle standing still", "two objects, one object"] * 20
    return train_byte_level_bpe(texts, 512)


def encode_captions(tokenizer: Any, texts: list[str], length: int) -> Any:
    """Ids int64 [len(texts), length]: <s>, the text, </s>, then padding, as the runtime does it."""
    import torch

    ids = torch.full((len(texts), length), PAD_ID, dtype=torch.int64)
    for row, text in enumerate(texts):
        tokens = [BOS_ID, *tokenizer.encode(text, add_special_tokens=False)[: length - 2], EOS_ID]
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids


def load_tokenizer(folder: Path) -> Any:
    """The `transformers` fast tokenizer of a folder; reads local files only."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
