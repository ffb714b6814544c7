"""Small tokenizers with the special tokens of public chat models, and the chat templates of those models."""

# ruff: noqa: E501
from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from . import tokenizer_sources as sources

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# As SmolLM2's: a system text of its own where none is given.
CHATML_WITH_SYSTEM = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant.<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
    "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}"
    "{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) "
    "%}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if loop.index0 == 0 and "
    "system_message %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + "
    "message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == "
    "'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' "
    "%}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' "
    "+ message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
VICUNA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + ' ' }}"
    "{% set messages = messages[1:] %}{% endif %}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ 'USER: ' + message['content'] }}{% else %}{{ ' ASSISTANT: ' + message['content'] + eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
TEMPLATES = {"chatml": CHATML, "llama-2": LLAMA_2, "llama-3": LLAMA_3, "vicuna": VICUNA}


@cache
def backend(kind: str) -> Tokenizer:
    """The tokenizer of a model of that kind: byte-level BPE, or SentencePiece's."""
    if kind == "chatml":
        return with_special(sources.byte_level(), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    if kind == "llama-3":
        header = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
        return with_special(sources.llama3(), ["<|begin_of_text|>", "<|end_of_text|>", *header])
    return sentencepiece(metaspace=False)


@cache
def sentencepiece(metaspace: bool) -> Tokenizer:
    """Llama 2's: a space before every text (legacy), or only before the first one (Metaspace)."""
    with TemporaryDirectory() as folder:
        config = json.loads(sources.llama2(Path(folder)).to_str())
    for token in config["added_tokens"]:
        token["normalized"] = False
    if metaspace:
        config["normalizer"] = None
        config["pre_tokenizer"] = {
            "type": "Metaspace",
            "replacement": sources.SPACE,
            "prepend_scheme": "first",
            "split": False,
        }
    return Tokenizer.from_str(json.dumps(config))


def with_special(tokenizer: Tokenizer, special: list[str]) -> Tokenizer:
    """The tokenizer with these special tokens as well."""
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def tokenizer(kind: str, template: str | None = None, source: Tokenizer | None = None) -> Any:
    """As `backend`, a tokenizer of transformers with the chat template of that kind of model."""
    tokens = {
        "chatml": ("<|im_start|>", "<|im_end|>"),
        "llama-3": ("<|begin_of_text|>", "<|eot_id|>"),
    }.get(kind, ("<s>", "</s>"))
    made = PreTrainedTokenizerFast(
        tokenizer_object=source or backend(kind), bos_token=tokens[0], eos_token=tokens[1]
    )
    made.chat_template = template if template is not None else TEMPLATES.get(kind)
    return made
