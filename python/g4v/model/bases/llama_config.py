"""Reads config.json of a Llama: every key is obeyed, known to change nothing here, or refused by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from g4v._console import printable
from g4v._files import read_json
from g4v.model.bases.errors import CheckpointError, of_kind, one_line
from g4v.model.config import MOST_LAYERS, MOST_SIZE

# What `transformers.LlamaConfig` obeys and the exported graph computes.
_OBEYED = set(
    """
    model_type vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads
    num_key_value_heads head_dim max_position_embeddings rms_norm_eps tie_word_embeddings attention_bias
    mlp_bias rope_theta rope_scaling rope_parameters hidden_act bos_token_id eos_token_id pad_token_id
    attention_dropout
    """.split()
)
# What changes no number that a Llama computes in inference: notes of libraries, training, generation,
# classification. pretraining_tp cut products into parts that were added up.
NO_EFFECT = set(
    """
    _name_or_path name_or_path _commit_hash transformers_version transformers.js_config torch_dtype dtype
    initializer_range use_cache pretraining_tp torchscript use_bfloat16 return_dict use_return_dict
    output_attentions output_hidden_states output_scores return_dict_in_generate
    _attn_implementation _attn_implementation_internal _attn_implementation_autoset attn_implementation
    _flash_attn_2_enabled use_flash_attn use_flash_attention gradient_checkpointing
    chunk_size_feed_forward embd_pdrop resid_pdrop attn_pdrop hidden_dropout
    max_sequence_length max_length min_length max_new_tokens do_sample early_stopping num_beams
    num_beam_groups diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty
    no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences forced_bos_token_id
    forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens
    begin_suppress_tokens prefix unk_token_id sep_token_id decoder_start_token_id
    finetuning_task id2label label2id num_labels problem_type task_specific_params tokenizer_class
    tf_legacy_loss is_decoder tie_encoder_decoder is_llama_config
    unsloth_version unsloth_fixed unsloth_tied_pad
    """.split()
)
# What would change the numbers, and that neither transformers' Llama nor the graph computes.
_ONLY: dict[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "use_sliding_window": (False,),
    "rope_interleaved": (False,),
    "rope_interleave": (False,),
    "rope_traditional": (False,),
    "qk_layernorm": (False,),
    "use_qk_norm": (False,),
    "bias": (False,),
    "qkv_bias": (False,),
    "partial_rotary_factor": (1,),
    "logit_scale": (1,),
    "embedding_multiplier": (1,),
    "residual_multiplier": (1,),
    "logits_scaling": (1,),
}
_ARCHITECTURES = ("LlamaForCausalLM", "LLaMAForCausalLM")
_NOTHING: tuple[Any, ...] = (None, [], {})

# The settings of each kind of rotary positions in `rope_parameters`, beside rope_type and rope_theta: those
# that must be there, and those that may. Dynamic frequencies are the plain ones up to
# max_position_embeddings, which is where the exported context ends.
_ROPE: dict[str, tuple[set[str], set[str]]] = {
    "default": (set(), {"factor"}),
    "linear": ({"factor"}, set()),
    "dynamic": ({"factor"}, {"original_max_position_embeddings"}),
    "llama3": ({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}, set()),
    "yarn": (
        {"factor", "original_max_position_embeddings"},
        {"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"},
    ),
}
_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)


def read_llama_config(folder: Path) -> Any:
    """The `transformers.LlamaConfig` of a model folder.

    CheckpointError: config.json is missing or damaged, is of another model, or has a key or value that the
    exported graph would not follow; the message names it.
    """
    path = folder / "config.json"
    values = read_json(path, CheckpointError)
    check_architecture(folder, values.get("model_type"))
    return checked_config(path, values)


def checked_config(path: Path, values: Mapping[str, Any]) -> Any:
    """The LlamaConfig of the keys of a config.json; arguments and errors as `make_config`."""
    _check_keys(path, values)
    return make_config(path, values)


def check_architecture(source: str | Path, kind: Any) -> None:
    """CheckpointError unless `kind`, a model_type, is "llama"."""
    if kind != "llama":
        hint = "; convert it with python -m g4v.model.bases convert" if kind == "mplug-owl" else ""
        raise CheckpointError(f"{source}: {of_kind(kind)}, only LlamaForCausalLM can be used{hint}")


def make_config(path: Path, values: Mapping[str, Any]) -> Any:
    """The LlamaConfig of checked keys. path: the file that they are from, for messages.

    CheckpointError: a value is of another type, out of range, or contradicts another.
    """
    from transformers import LlamaConfig

    _check_rope(path, _rope_of(path, values))  # before transformers, which only warns
    try:
        config: Any = LlamaConfig.from_dict({**values}, name_or_path=str(path.parent))
    except Exception as error:  # of the library behind transformers that checks types, and its own
        raise CheckpointError(f"{path}: {one_line(error)}") from None
    for name in _SIZES:
        size = getattr(config, name)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise CheckpointError(f"{path}: {name} is {size!r:.80}, not a positive number")
        most = MOST_LAYERS if name == "num_hidden_layers" else MOST_SIZE
        if size > most:
            raise CheckpointError(f"{path}: {name} is {size!r:.80}, but at most {most} are read")
    padding = config.pad_token_id
    if padding is not None and not -config.vocab_size <= padding < config.vocab_size:
        raise CheckpointError(f"{path}: pad_token_id is {padding!r:.80}, of {config.vocab_size} tokens")
    if config.num_attention_heads % config.num_key_value_heads:
        raise CheckpointError(
            f"{path}: num_attention_heads is {config.num_attention_heads}, no multiple of "
            f"num_key_value_heads, {config.num_key_value_heads}"
        )
    if config.head_dim % 2:
        raise CheckpointError(f"{path}: head_dim is {config.head_dim}: rotary positions need an even number")
    if config.hidden_act not in ("silu", "swish"):
        raise CheckpointError(f"{path}: hidden_act {config.hidden_act!r} is not supported, only 'silu'")
    config.hidden_act = "silu"
    _check_number(path, "rms_norm_eps", config.rms_norm_eps, 0)
    return config


def _check_keys(path: Path, values: Mapping[str, Any]) -> None:
    method = values.get("quantization_config")
    if method is not None:
        kind = method.get("quant_method") if isinstance(method, dict) else method
        shown = printable(str(kind))
        raise CheckpointError(
            f"{path}: the weights are stored as {shown:.80}; save the model with plain floating weights first"
        )
    names = values.get("architectures")
    if names not in _NOTHING and not (
        isinstance(names, list) and set(map(str, names)) <= set(_ARCHITECTURES)
    ):
        raise CheckpointError(f"{path}: architectures is {names!r}, only LlamaForCausalLM can be used")
    code = values.get("auto_map")
    if isinstance(code, dict) and any(name.startswith(("AutoModel", "AutoConfig")) for name in code):
        raise CheckpointError(
            f"{path}: auto_map says that the model has code of its own, which is not run; take auto_map out "
            "of a copy if it computes what LlamaForCausalLM does"
        )
    window = values.get("sliding_window")
    if window is not None and values.get("use_sliding_window", True):
        limit = values.get("max_position_embeddings", 2048)
        if not isinstance(window, int) or not isinstance(limit, int) or window < limit:
            raise CheckpointError(f"{path}: sliding_window = {window!r} is not supported by LlamaForCausalLM")
    layers = values.get("layer_types")
    if layers not in _NOTHING and not (
        isinstance(layers, list) and set(map(str, layers)) == {"full_attention"}
    ):
        raise CheckpointError(f"{path}: layer_types = {layers!r} is not supported, only 'full_attention'")
    seen = {"quantization_config", "architectures", "auto_map", "sliding_window", "layer_types"}
    for key, value in values.items():
        if key in _OBEYED or key in NO_EFFECT or key in seen or value in _NOTHING:
            continue
        if key not in _ONLY or value not in _ONLY[key]:
            raise CheckpointError(
                f"{path}: {key} = {value!r:.80} is not supported; take it out of a copy if it changes "
                "nothing that LlamaForCausalLM computes"
            )


def _rope_of(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the rotary positions, which have three places and two spellings.

    CheckpointError: two places contradict each other.
    """
    found: dict[str, Any] = {}
    for place in ("rope_scaling", "rope_parameters"):
        given = values.get(place)
        if given is None:
            continue
        if not isinstance(given, dict):
            raise CheckpointError(f"{path}: {place} is {given!r:.80}, not an object")
        for key, value in given.items():
            name = "rope_type" if key == "type" else key
            if name not in found:
                found[name] = value
            elif found[name] != value:
                raise CheckpointError(f"{path}: {name} is both {found[name]!r:.80} and {value!r:.80}")
    theta = values.get("rope_theta")
    if theta is not None and found.setdefault("rope_theta", theta) != theta:
        raise CheckpointError(f"{path}: rope_theta is both {found['rope_theta']!r:.80} and {theta!r:.80}")
    found.setdefault("rope_type", "default")
    if found["rope_type"] in ("llama3", "yarn"):  # as transformers fills it in
        found.setdefault("original_max_position_embeddings", values.get("max_position_embeddings", 2048))
    return found


def _check_rope(path: Path, rope: Mapping[str, Any]) -> None:
    kind = rope.get("rope_type")
    if not isinstance(kind, str) or kind not in _ROPE:
        raise CheckpointError(
            f"{path}: rope_type {kind!r:.80} is not supported, only {', '.join(map(repr, _ROPE))}"
        )
    needed, optional = _ROPE[kind]
    for name in sorted(needed):
        if rope.get(name) is None:
            raise CheckpointError(f"{path}: rope_type {kind!r} needs {name}")
    for name, value in rope.items():
        if name == "rope_type" or value is None:
            continue
        if name == "partial_rotary_factor" and value == 1:
            continue
        if isinstance(value, bool) and (name == "finetuned" or (name == "truncate" and name in optional)):
            continue  # finetuned is a note
        if name != "rope_theta" and name not in needed | optional:
            raise CheckpointError(f"{path}: {name} = {value!r:.80} is not supported for rope_type {kind!r}")
        _check_number(path, name, value, 0)
    if kind == "default" and rope.get("factor", 1) != 1:
        raise CheckpointError(f"{path}: a factor of {rope['factor']!r} needs a rope_type, such as 'linear'")
    if kind == "llama3" and not rope["low_freq_factor"] < rope["high_freq_factor"]:
        raise CheckpointError(f"{path}: low_freq_factor must be less than high_freq_factor")
    if kind == "yarn" and (rope.get("beta_fast") or 32) < (rope.get("beta_slow") or 1):
        raise CheckpointError(f"{path}: beta_fast must not be less than beta_slow")


def _check_number(path: Path, name: str, value: Any, above: float) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not above < value < sys.float_info.max:  # no int beyond all floats either
        raise CheckpointError(f"{path}: {name} is {value!r:.80}, not a number above {above}")
