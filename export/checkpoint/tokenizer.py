"""Reads a tokenizer from whatever a Hugging Face model stores it as."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from g4v.export.errors import ExportError


def load_backend(source: Any) -> Any:
    """Returns the `tokenizers.Tokenizer` of a Hugging Face tokenizer.

    source: a folder of a Hugging Face model, a tokenizer.json, a `tokenizers.Tokenizer`, or a fast tokenizer
    of transformers.

    ExportError: there is none, it is damaged, or it is a slow tokenizer.
    """
    from tokenizers import Tokenizer

    if isinstance(source, Tokenizer):
        return source
    if hasattr(source, "backend_tokenizer"):
        return source.backend_tokenizer
    if not isinstance(source, (str, os.PathLike)):
        raise ExportError(f"{type(source).__name__} is no fast tokenizer, and only those can be exported")
    path = Path(source)
    file = path / "tokenizer.json" if path.is_dir() else path
    if not path.exists():
        raise ExportError(f"there is no tokenizer at {path}")
    if file.exists():
        try:
            return Tokenizer.from_str(file.read_text(encoding="utf-8-sig"))
        except Exception as error:  # `tokenizers` raises bare Exception
            raise ExportError(f"{file} is no tokenizer of Hugging Face tokenizers: {error}") from error
    # Only vocabulary files: transformers builds the fast tokenizer from them.
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:  # whatever the model's own files provoke
        line = str(error).strip().split("\n")[0]
        raise ExportError(f"{path} holds no tokenizer that transformers can load: {line}") from error
    return load_backend(tokenizer)
