"""The chat template of a processor, and the tokens that end an answer, from their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.processor_files import PROCESSOR_FILES


def processor_template(folder: Path, tokenizer: Any) -> str | None:
    """The source of the processor's template: its own file, or else the tokenizer's; None without any.

    CheckpointError: it is no text.
    """
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text("utf-8")
    for path in (folder / "chat_template.json", folder / PROCESSOR_FILES[0]):
        values = read_json(path, CheckpointError) if path.is_file() else {}
        if "chat_template" in values or path.name == "chat_template.json" and path.is_file():
            source = values.get("chat_template")
            if not isinstance(source, str):
                raise CheckpointError(f"{path}: chat_template is not a text")
            return source
    source = getattr(tokenizer, "chat_template", None)
    return source if isinstance(source, str) and source else None


def end_tokens(folder: Path) -> set[int]:
    """The tokens that end an answer by generation_config.json, if it is there. CheckpointError: damaged."""
    path = folder / "generation_config.json"
    given = read_json(path, CheckpointError).get("eos_token_id") if path.is_file() else None
    ends = given if isinstance(given, list) else [] if given is None else [given]
    if not all(type(end) is int and end >= 0 for end in ends):
        raise CheckpointError(f"{path}: eos_token_id is {given!r:.80}")
    return set(ends)
