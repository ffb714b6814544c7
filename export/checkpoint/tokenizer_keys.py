"""Which keys of a tokenizer's files are obeyed, and which are known to change nothing here.

A key that is in neither list is refused by name. Nothing here reads vocabularies.

tokenizer.json, beside what `g4v.export.components.tokenizer` reads:
    version          of the file; `tokenizers` refuses one that it does not know
    truncation       the runtime cuts captions itself and refuses prompts that are too long
    padding          the runtime pads captions itself, with the pad token of the tokenizer
    post_processor   puts special tokens around a text: the runtime has the prompt template's and, for
                     captions, those of the manifest, which `export.bundle.tokenizers` compares with it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.export.errors import ExportError

_FILE = {"added_tokens", "decoder", "model", "normalizer", "pre_tokenizer"}
_FILE_WITHOUT_EFFECT = {"version", "truncation", "padding", "post_processor"}
_MODELS = {
    "BPE": {
        "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
        "byte_fallback", "ignore_merges", "vocab", "merges",
    },
    "Unigram": {"type", "unk_id", "vocab", "byte_fallback"},
}  # fmt: skip

# Keys of tokenizer_config.json that say what tokenizer.json says too; where both are there, that one is read.
_SAID_TWICE = {
    "added_tokens_decoder",  # compared below
    "additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens",
    "bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token",
    "add_bos_token", "add_eos_token",  # the post processor; the prompt template has its own opening token
    "add_prefix_space", "do_lower_case", "legacy",  # normalizer and pre-tokenizer
    "extra_ids", "unk_id",  # of T5: how many of its special tokens are <extra_id_...>; the model's own
    "errors",  # of invalid UTF-8, in decoding: U+FFFD
    "vocab_file", "merges_file", "tokenizer_file", "full_tokenizer_file", "trim_offsets",
}  # fmt: skip
# What changes neither the ids of a text nor, here, the text of ids.
_WITHOUT_EFFECT = {
    "auto_map",  # code, which is never run
    "backend", "is_local", "local_files_only", "name_or_path", "processor_class", "special_tokens_map_file",
    "tokenizer_class", "transformers_version", "trust_remote_code", "from_slow", "use_fast", "device_map",
    "chat_template",  # read by g4v.model.bases.chat_template when asked for
    "use_default_system_prompt", "response_schema", "model_input_names", "return_token_type_ids",
    "model_max_length", "max_length", "max_len", "stride", "pad_to_multiple_of", "pad_token_type_id",
    "padding", "padding_side", "truncation", "truncation_side", "truncation_strategy",
    # Of transformers' decoding: the runtime gives text as it was learnt, and streams it.
    "clean_up_tokenization_spaces", "spaces_between_special_tokens",
}  # fmt: skip


def check_tokenizer_keys(state: dict[str, Any], place: str) -> None:
    """Raises ExportError that names a key of a tokenizer.json that is not known. place: for the message."""
    unknown = sorted(set(state) - _FILE - _FILE_WITHOUT_EFFECT)
    model = state.get("model")
    if isinstance(model, dict) and "type" not in model and "unk_id" in model:  # of before 2023
        model = {"type": "Unigram", **model}
    if isinstance(model, dict) and model.get("type", "BPE") in tuple(_MODELS):
        known = _MODELS[model.get("type", "BPE")]
        unknown += [f"model.{key}" for key in sorted(set(model) - known)]
    if unknown:
        raise ExportError(f"{place}: {unknown[0]} is no key of a tokenizer that this g4v knows")


def check_config(folder: Path, added: dict[int, Any]) -> None:
    """Checks tokenizer_config.json, which may be absent, against the tokenizer.json beside it.

    added: {id: token} of the latter's added tokens. ExportError: a key that is not known, one that asks for
    what the runtime does not do, or an added token that differs.
    """
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return
    config = read_json(path, ExportError)
    known = _SAID_TWICE | _WITHOUT_EFFECT | {"sp_model_kwargs", "split_special_tokens"}
    # Roles that models give to tokens ("image_token"): the tokens themselves are in tokenizer.json.
    unknown = sorted(key for key in set(config) - known if not key.endswith(("_token", "_token_id")))
    if unknown:
        raise ExportError(f"{path}: {unknown[0]} is no key of a tokenizer that this g4v knows; remove it")
    sampling = config.get("sp_model_kwargs") or {}
    if not isinstance(sampling, dict) or sampling.get("enable_sampling"):
        raise ExportError(f"{path}: sp_model_kwargs asks for random splitting, which the runtime does not do")
    if config.get("split_special_tokens"):
        raise ExportError(
            f"{path}: split_special_tokens makes the template's special tokens plain text; set it to false"
        )
    _compare_added_tokens(config.get("added_tokens_decoder") or {}, added, path)


def _compare_added_tokens(listed: Any, added: dict[int, Any], path: Path) -> None:
    if not isinstance(listed, dict):
        raise ExportError(f"{path}: added_tokens_decoder must be an object")
    for number, token in listed.items():
        there = added.get(int(number)) if number.isdigit() else None
        content = token.get("content") if isinstance(token, dict) else token
        if there is None or there.content != content:
            raise ExportError(
                f"{path}: added_tokens_decoder has the token {content!r} with the id {number}, and "
                "tokenizer.json has not; save the tokenizer again, so that both say the same"
            )
        for flag in ("lstrip", "rstrip", "single_word", "special", "normalized"):
            if isinstance(token, dict) and token.get(flag, getattr(there, flag)) != getattr(there, flag):
                raise ExportError(
                    f"{path}: added_tokens_decoder and tokenizer.json differ about {flag} of {content!r}; "
                    "save the tokenizer again, so that both say the same"
                )
