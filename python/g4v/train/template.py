"""The prompt template of a run."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from g4v.model.prompt import PromptTemplate, default_system
from g4v.train.bases import find_base_description
from g4v.train.errors import TrainingError
from g4v.train.settings import Settings


def build_template(settings: Settings, tokenizer: Any) -> PromptTemplate:
    """The base run's own template where it has one, else the paper's; then the changes of `settings.prompt`.

    tokenizer: of transformers; the paper's template takes its end-of-text token, and its opening token where
    the tokenizer itself puts one before a text. TrainingError: no such token, or an unknown key or a value of
    another type in `settings.prompt`.
    """
    base = find_base_description(settings)
    if base is not None and "prompt" in base:
        values = dict(base["prompt"])
    else:
        values = {"system": default_system(settings.assistant), "bos_id": None}
        opening = tokenizer("a").input_ids[:1]
        if tokenizer.bos_token_id is not None and opening == [tokenizer.bos_token_id]:
            values["bos_id"] = tokenizer.bos_token_id
        if tokenizer.eos_token_id is not None:
            values["turn_end_id"] = tokenizer.eos_token_id
        elif "turn_end_id" not in settings.prompt:
            raise TrainingError("the tokenizer has no end-of-text token; set prompt: {turn_end_id: N}")
    values |= settings.prompt
    known = {item.name for item in fields(PromptTemplate)}
    for name, value in values.items():
        if name not in known:
            raise TrainingError(f"prompt: unknown key {name!r} (one of {', '.join(sorted(known))})")
        wanted = _wanted_type(name, value)
        if wanted:
            raise TrainingError(f"prompt: {name} must be {wanted}, not {value!r}")
    return PromptTemplate.from_manifest(values)


def _wanted_type(name: str, value: Any) -> str:
    """What the value of a key must be where it is something else; "" where it fits."""
    if name in ("turn_end_id", "bos_id"):
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return "" if fits or (name == "bos_id" and value is None) else "the number of a token"
    if name in ("stop", "refusal_openings"):
        fits = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
        return "" if fits else "a list of texts"
    return "" if isinstance(value, str) else "a text"
