"""Reads a tokenizer from whatever a Hugging Face model stores it as."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from g4v.export.checkpoint.tokenizer_keys import check_config, check_tokenizer_keys
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
            text = file.read_text(encoding="utf-8-sig")
            state = json.loads(text)
            if isinstance(state, dict):
                check_tokenizer_keys(state, str(file))
            loaded = Tokenizer.from_str(text)
        except ExportError:
            raise
        except Exception as error:  # `tokenizers` raises bare Exception
            raise ExportError(f"{file} is no tokenizer of Hugging Face tokenizers: {error}") from error
        check_config(file.parent, loaded.get_added_tokens_decoder())
        return loaded
    # Only vocabulary files: transformers builds the fast tokenizer from them.
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:  # whatever the model's own files provoke
        line = str(error).strip().split("\n")[0]
        raise ExportError(f"{path} holds no tokenizer that transformers can load: {line}") from error
    return load_backend(tokenizer)


def caption_backend(tokenizer: Any) -> Any:
    """The `tokenizers.Tokenizer` of a text encoder, which reads captions as transformers does.

    Special tokens in brackets, as "<|endoftext|>", are plain text in a caption. One that is ordinary text is
    found: ZeroScope's tokenizer pads with "!", and its model was trained with that token for every "!".
    tokenizer: a fast tokenizer of transformers.
    """
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in state["added_tokens"]:
        content = token["content"]
        bracketed = (content[0], content[-1]) in (("<", ">"), ("[", "]"))
        token["special"] = token["special"] and bracketed
    return Tokenizer.from_str(json.dumps(state))
