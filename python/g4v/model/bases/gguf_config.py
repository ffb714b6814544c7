"""The configuration of a Llama in a GGUF file: every key of its architecture is obeyed, idle or refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.llama_config import check_architecture, make_config
from g4v.weights.gguf_metadata import GgufMetadata, open_reader, read_metadata
from g4v.weights.gguf_tensors import ROTARY_FACTORS

_NEEDED = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
_OBEYED = {
    *_NEEDED,
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "vocab_size",
}
# Keys that llama.cpp reads for some architectures, with the values that leave a Llama as it is. Of the others
# tensor_data_layout tells how a file was made, and rope.scaling.finetuned that a model was trained with it.
_ONLY: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.max_alibi_bias": (0,),
    "attention.clamp_kqv": (0,),
    "attention.sliding_window": (0,),
    "attention.scale": (0,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "expert_shared_count": (0,),
    "leading_dense_block_count": (0,),
    "logit_scale": (0, 1),
    "residual_scale": (0, 1),
    "embedding_scale": (0, 1),
    "final_logit_softcapping": (0,),
    "attn_logit_softcapping": (0,),
    "pooling_type": (0,),
    "rope.scaling.attn_factor": (0, 1),
    "rope.scaling.yarn_ext_factor": (-1, 1),
    "rope.scaling.yarn_attn_factor": (0, 1),
    "rope.scaling.yarn_log_multiplier": (0,),
    "rope.scaling.finetuned": (True, False),
    "use_parallel_residual": (False,),
    "tensor_data_layout": ("Meta AI original pth",),
}


def read_gguf_config(path: Path) -> Any:
    """The `transformers.LlamaConfig` of a GGUF file.

    Keys outside "llama.", "general.", "split." and "tokenizer." are notes of other programs. Of "general."
    the architecture and the type are obeyed; the rest are names, licences and the like. The tokenizer's are
    those of `load_tokenizer`.

    CheckpointError: as `read_metadata`, or a key of the architecture is missing, unknown, or has a value that
    the exported graph would not follow.
    """
    metadata = read_metadata(path)
    fields = metadata.fields
    check_architecture(path, fields.get("general.architecture"))
    found = {name.removeprefix("llama."): fields[name] for name in fields if name.startswith("llama.")}
    _check_keys(path, found)
    hidden, heads = found["embedding_length"], found["attention.head_count"]
    head_dim = found.get("attention.key_length", hidden // max(1, heads))
    for name in ("attention.value_length", "rope.dimension_count"):
        if found.get(name, head_dim) != head_dim:
            raise CheckpointError(f"{path}: llama.{name} is {found[name]}, other than a head of {head_dim}")
    embedding = metadata.tensors.get("token_embd.weight")
    if embedding is None or len(embedding) != 2:
        raise CheckpointError(f"{path}: missing tensor token_embd.weight")
    if found.get("vocab_size", embedding[0]) != embedding[0]:
        raise CheckpointError(
            f"{path}: llama.vocab_size is {found['vocab_size']}, not {embedding[0]} (token_embd.weight)"
        )
    values = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        **{ours: found[name] for name, ours in _NEEDED.items()},
        "num_key_value_heads": found.get("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "vocab_size": embedding[0],
        # llama.cpp writes the head only where it is not the embedding.
        "tie_word_embeddings": "output.weight" not in metadata.tensors,
        "attention_bias": _has_bias(metadata, "attn_q", "attn_k", "attn_v", "attn_output"),
        "mlp_bias": _has_bias(metadata, "ffn_gate", "ffn_up", "ffn_down"),
        "rope_parameters": _rope(path, found),
        **{
            f"{ours}_token_id": fields.get(f"tokenizer.ggml.{name}_token_id")
            for ours, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
        },
    }
    llama3 = _llama3_of(path, values, found, metadata)
    if llama3 is not None:
        values["rope_parameters"] = llama3
    return make_config(path, values)


def _check_keys(path: Path, found: dict[str, Any]) -> None:
    for name, value in found.items():
        if isinstance(value, list):
            if name not in _OBEYED or len(set(value)) != 1:
                raise CheckpointError(
                    f"{path}: llama.{name} differs from layer to layer, which LlamaForCausalLM cannot do"
                )
            found[name] = value[0]
        elif name not in _OBEYED and (name not in _ONLY or value not in _ONLY[name]):
            raise CheckpointError(f"{path}: llama.{name} = {value!r:.80} is not supported")
    for name in _NEEDED:
        if name not in found:
            raise CheckpointError(f"{path}: llama.{name} is missing")


def _has_bias(metadata: GgufMetadata, *names: str) -> bool:
    return any(f"blk.0.{name}.bias" in metadata.tensors for name in names)


def _rope(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """The rotary positions, with the defaults of llama.cpp: a scale without a type is linear."""
    base = {"rope_type": "default", "rope_theta": found.get("rope.freq_base", 10000.0)}
    kind = found.get("rope.scaling.type", "linear")
    factor = found.get("rope.scaling.factor", found.get("rope.scale_linear", 0.0)) or 1.0
    if kind not in ("none", "linear", "yarn"):
        raise CheckpointError(f"{path}: rope scaling {kind!r} of a GGUF file is not supported")
    if kind == "none" or factor == 1:
        return base
    if kind == "linear":
        return {**base, "rope_type": "linear", "factor": factor}
    scaled = {
        "factor": factor,
        "original_max_position_embeddings": found.get(
            "rope.scaling.original_context_length", found["context_length"]
        ),
    }
    for name in ("beta_fast", "beta_slow"):
        if f"rope.scaling.yarn_{name}" in found:
            scaled[name] = found[f"rope.scaling.yarn_{name}"]
    return {**base, "rope_type": "yarn", **scaled}


def _llama3_of(
    path: Path, values: dict[str, Any], found: dict[str, Any], metadata: GgufMetadata
) -> dict[str, Any] | None:
    """The rotary positions of Llama 3 that the factors in a file were made from, so that a configuration can
    say them; None where the file has no factors, or others (`read_rotary_factors`)."""
    factors = read_rotary_factors(metadata)
    if factors is None or values["rope_parameters"]["rope_type"] != "default":
        return None
    theta, dim = values["rope_parameters"]["rope_theta"], values["head_dim"]
    if len(factors) != dim // 2:
        raise CheckpointError(f"{path}: {ROTARY_FACTORS} has {len(factors)} numbers, not {dim // 2}")
    lengths = 2 * math.pi * theta ** (np.arange(0, dim, 2) / dim)
    known = found.get("rope.scaling.original_context_length")
    for original in ([known] if known else []) + [1 << bits for bits in (13, *range(4, 21))]:
        settings = {
            "factor": float(factors.max()),
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": original,
        }
        if np.abs(_llama3_factors(lengths, settings) / factors - 1).max() < 1e-6:
            return {"rope_type": "llama3", "rope_theta": theta, **settings}
    return None


def _llama3_factors(lengths: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """The factors by which Llama 3 divides the frequencies with these wave lengths."""
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    smooth = np.clip((settings["original_max_position_embeddings"] / lengths - low) / (high - low), 0, 1)
    divided: np.ndarray = 1 / ((1 - smooth) / settings["factor"] + smooth)
    return divided


def read_rotary_factors(metadata: GgufMetadata) -> np.ndarray | None:
    """The numbers that the file divides the rotary frequencies by, float64 [head_dim / 2], or None.

    CheckpointError: they are not positive and finite.
    """
    if ROTARY_FACTORS not in metadata.tensors:
        return None
    from gguf.quants import dequantize

    tensor = next(t for t in open_reader(metadata.path).tensors if t.name == ROTARY_FACTORS)
    factors = np.array(dequantize(tensor.data, tensor.tensor_type), np.float64).reshape(-1)
    if not (np.isfinite(factors) & (factors > 0)).all():
        raise CheckpointError(f"{metadata.path}: {ROTARY_FACTORS} holds numbers that are not positive")
    return factors
