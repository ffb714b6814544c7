"""The tokenizers of a bundle: compared while they are written, captions between the right tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="needs the export extra")
from tokenizers import processors

from g4v import _core
from g4v.export.bundle import tokenizers as written
from g4v.export.errors import ExportError

from ...python import chat_tokenizers as chats
from ...python import tokenizer_sources as sources


class Run:
    """What `write_tokenizers` asks of a checkpoint."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def tokenizer(self, part: str) -> Any:
        return self._tokenizer

    def tokenizer_source(self, part: str) -> Any:
        return self._tokenizer


def write(tokenizer: Any, folder: Path, *components: str) -> dict[str, Any]:
    return written.write_tokenizers(Run(tokenizer), folder, components)  # type: ignore[arg-type]


def test_captions_as_transformers_reads_them(tmp_path: Path) -> None:
    tokenizer = sources.clip()
    tokenizer.add_special_tokens({"pad_token": "!"})
    spec = write(tokenizer, tmp_path, "text_encoder")["text_encoder"]
    ours = _core.Tokenizer((tmp_path / spec["file"]).read_text("utf-8"))
    text = "A red circle! Moves, left!!"
    assert [spec["bos"], *ours.encode(text), spec["eos"]] == tokenizer(text).input_ids
    assert spec["pad"] == tokenizer.pad_token_id in ours.encode(text)


def test_other_tokens_around_a_caption_are_refused(tmp_path: Path) -> None:
    tokenizer = sources.clip()
    tokenizer.add_special_tokens({"pad_token": "!"})
    ends = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<|endoftext|>", "<|startoftext|>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $0 <|startoftext|>", special_tokens=ends
    )
    with pytest.raises(ExportError, match="set bos_token and eos_token to what its post processor puts"):
        write(tokenizer, tmp_path, "text_encoder")


def test_added_tokens_reach_the_bundle(tmp_path: Path) -> None:
    tokenizer = chats.tokenizer("chatml")
    tokenizer.add_tokens(["<scene>"])
    write(tokenizer, tmp_path, "decoder")
    ours = _core.Tokenizer((tmp_path / "tokenizer.json").read_text("utf-8"))
    assert ours.encode("a<scene>") == tokenizer("a<scene>").input_ids


def test_a_tokenizer_that_differs_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_added_tokens(source: Any, path: Path) -> None:
        from g4v.export.components.tokenizer import convert_tokenizer

        values = convert_tokenizer(source)
        del values["text_tokens"]
        path.write_text(json.dumps(values), "utf-8")

    tokenizer = chats.tokenizer("chatml")
    tokenizer.add_tokens(["<scene>"])
    monkeypatch.setattr(written, "write_tokenizer", without_added_tokens)
    with pytest.raises(ExportError, match="the tokenizer differs on"):
        write(tokenizer, tmp_path, "decoder")
