"""Random T5 and UMT5 text encoders, and their tokenizers, in the layouts of diffusers' folders."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from python import tokenizer_sources as sources

EXTRA_IDS = 4


def train_unigram(**options: Any) -> bytes:
    """A small SentencePiece Unigram model; options: of its trainer."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    given = {"vocab_size": 2500, "hard_vocab_limit": False, "model_type": "unigram", **options}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sources.corpus()), model_writer=model, num_threads=1, minloglevel=2, **given
    )
    return model.getvalue()


def write_tokenizer(folder: Path, layout: str, length: int, **options: Any) -> Any:
    """Writes the tokenizer/ of a T5 and returns transformers' own of it.

    layout: "spiece.model", as LTX-Video has it, or "tokenizer.json", as transformers 5 saves it.
    """
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    pieces = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "character_coverage": 0.99}
    (folder / "spiece.model").write_bytes(train_unigram(**pieces, **options))
    config = {"tokenizer_class": "T5Tokenizer", "model_max_length": length, "extra_ids": EXTRA_IDS}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if layout == "tokenizer.json":
        (folder / "spiece.model").unlink()
        tokenizer.save_pretrained(folder)
        assert (folder / "tokenizer.json").is_file() and not (folder / "spiece.model").exists()
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def make_encoder(kind: str = "t5", seed: int = 0, **changes: Any) -> Any:
    """A small random encoder with weights large enough that every part of it counts. kind: "t5", "umt5"."""
    from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

    config: dict[str, Any] = {
        "vocab_size": 300,
        "d_model": 48,
        "d_kv": 8,  # so that heads * d_kv is not d_model
        "d_ff": 100,
        "num_layers": 3,
        "num_heads": 5,
        "feed_forward_proj": "gated-gelu",
        **changes,
    }
    torch.manual_seed(seed)
    model: Any = (
        UMT5EncoderModel(UMT5Config(**config)) if kind == "umt5" else T5EncoderModel(T5Config(**config))
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("layer_norm.weight"):
                weight.normal_(1, 0.2)
            elif "relative_attention_bias" in name or "embed" in name or "shared" in name:
                weight.normal_(0, 1)
            else:
                weight.normal_(0, weight.shape[1] ** -0.5)
    return model.eval()
