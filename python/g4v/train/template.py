"""The prompt template of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from g4v.errors import ArgumentError
from g4v.model.bases.chat_template import read_chat_template
from g4v.model.bases.errors import CheckpointError
from g4v.model.prompt import PromptTemplate, default_system
from g4v.model.prompt_presets import preset_template
from g4v.train.bases import find_base_description, published_base
from g4v.train.errors import TrainingError
from g4v.train.settings import Settings


def build_template(settings: Settings, tokenizer: Any) -> PromptTemplate:
    """The template of the base, a run or a published video language model, else the paper's; then the changes
    of `settings.prompt`.

    tokenizer: of transformers; the paper's template takes its end-of-text token, and its opening token where
    the tokenizer itself puts one before a text. `preset` among the changes begins with a template by name
    instead (g4v.model.prompt_presets), or with the tokenizer's own chat template ("tokenizer").

    TrainingError: no such token or template, or an unknown key or a value of another type among the changes.
    """
    base = find_base_description(settings)
    changes, published = dict(settings.prompt), published_base(settings)
    if published is not None and "preset" in changes:
        raise TrainingError(f"prompt: preset: {settings.base} has a prompt of its own; leave preset out")
    if "preset" in changes:
        values = _preset(changes.pop("preset"), tokenizer)
    elif base is not None and "prompt" in base:
        values = dict(base["prompt"])
    elif published is not None:
        values = published.template(tokenizer).to_manifest()
    else:
        values = {"system": default_system(settings.assistant), "bos_id": None}
        opening = tokenizer("a").input_ids[:1]
        if tokenizer.bos_token_id is not None and opening == [tokenizer.bos_token_id]:
            values["bos_id"] = tokenizer.bos_token_id
        if tokenizer.eos_token_id is not None:
            values["turn_end_id"] = tokenizer.eos_token_id
        elif "turn_end_id" not in changes:
            raise TrainingError("the tokenizer has no end-of-text token; set prompt: {turn_end_id: N}")
    values |= changes
    known = {item.name for item in fields(PromptTemplate)}
    for name, value in values.items():
        if name not in known:
            raise TrainingError(f"prompt: unknown key {name!r} (one of {', '.join(sorted(known))})")
        wanted = _wanted_type(name, value)
        if wanted:
            raise TrainingError(f"prompt: {name} must be {wanted}, not {value!r}")
    return PromptTemplate.from_manifest(values)


def _preset(kind: Any, tokenizer: Any) -> dict[str, Any]:
    try:
        template = read_chat_template(tokenizer) if kind == "tokenizer" else preset_template(kind, tokenizer)
    except (ArgumentError, CheckpointError) as error:
        raise TrainingError(f"prompt: preset: {error}") from None
    return template.to_manifest()


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list | tuple) and all(map(fits, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


# What the values of keys that are no texts must be.
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "turn_end_id": ("the number of a token", _is_id),
    "bos_id": ("the number of a token", lambda value: value is None or _is_id(value)),
    "stop": ("a list of texts", lambda value: _is_list(value, _is_text)),
    "refusal_openings": ("a list of texts", lambda value: _is_list(value, _is_text)),
    "stop_ids": ("a list of numbers of tokens", lambda value: _is_list(value, _is_id)),
    "video_suffix": ("a text", lambda value: value is None or _is_text(value)),
    "space_after_special": ("true or false", lambda value: value is None or isinstance(value, bool)),
    "space_after_bos": ("true or false", lambda value: value is None or isinstance(value, bool)),
    "space_after_video": ("true or false", lambda value: isinstance(value, bool)),
    "special_tokens": (
        "the numbers of tokens by their texts",
        lambda value: (
            isinstance(value, dict)
            and all(_is_text(text) and text and _is_id(number) for text, number in value.items())
        ),
    ),
}


def _wanted_type(name: str, value: Any) -> str:
    """What the value of a key must be where it is something else; "" where it fits."""
    wanted, fits = _TYPES.get(name, ("a text", _is_text))
    return "" if fits(value) else wanted
