"""Writes a LlamaForCausalLM folder as the GGUF file that llama.cpp's converter would make of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


_K_FACTORS = {  # bytes of a block that hold float16 factors, and their values for weights of about .05
    "Q4_K": ((0, 2e-4), (2, 1.5e-3)),
    "Q5_K": ((0, 1e-4), (2, 1.5e-3)),
    "Q6_K": ((208, 2e-5),),
}


def write_gguf(
    folder: Path,
    path: Path,
    rope_factors: Any = None,
    scaling: Any = None,
    kind_of: Callable[[str], str] = lambda name: "F32",
    skip: Collection[str] = (),
    more: Callable[[Any], None] = lambda writer: None,
) -> Path:
    """Writes the weights, and the tokenizer if the folder has one. rope_factors: what the rotary frequencies
    are divided by; scaling: a kind of gguf.RopeScalingType; kind_of: how a matrix is stored, such as "Q4_1",
    by its name in the file. Of the K kinds blocks are random, for lack of anything that makes them in Python.
    skip: fields to leave out, such as "head_count_kv"; more: writes other fields.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in (
        ("context_length", config["max_position_embeddings"]),
        ("embedding_length", config["hidden_size"]),
        ("block_count", config["num_hidden_layers"]),
        ("feed_forward_length", config["intermediate_size"]),
        ("head_count", config["num_attention_heads"]),
        ("head_count_kv", config["num_key_value_heads"]),
        ("key_length", config["head_dim"]),
        ("value_length", config["head_dim"]),
        ("rope_dimension_count", config["head_dim"]),
        ("rope_freq_base", config["rope_parameters"]["rope_theta"]),
        ("layer_norm_rms_eps", config["rms_norm_eps"]),
        ("vocab_size", config["vocab_size"]),
    ):
        if name not in skip:
            getattr(writer, f"add_{name}")(value)
    more(writer)
    if (folder / "tokenizer.json").exists():
        _add_tokenizer(writer, folder)
    if scaling is not None:
        writer.add_rope_scaling_type(scaling)
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", np.ascontiguousarray(rope_factors, np.float32))
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {
        name: weight
        for file in sorted(folder.glob("*.safetensors"))
        for name, weight in load_file(file).items()
    }
    for name, weight in weights.items():
        target = _NAMES.get(name)
        if target is None:
            _, _, layer, inner = name.split(".", 3)
            kind = _NAMES[inner.rpartition(".")[0]]
            target = f"blk.{layer}.{kind}.{inner.rpartition('.')[2]}"
            if kind in heads:  # llama.cpp rotates neighbours, transformers halves
                pairs = weight.reshape(heads[kind], 2, -1, *weight.shape[1:])
                weight = pairs.swapaxes(1, 2).reshape(weight.shape)
        kind = kind_of(target) if weight.ndim == 2 else "F32"
        if kind == "F32":
            writer.add_tensor(target, np.ascontiguousarray(weight, np.float32))
        else:
            writer.add_tensor(target, _stored(weight, kind), raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _stored(weight: np.ndarray, kind: str) -> np.ndarray:
    """uint8 [out, bytes of a row]."""
    weight = np.ascontiguousarray(weight, np.float32)
    if kind not in _K_FACTORS:
        return gguf.quants.quantize(weight, gguf.GGMLQuantizationType[kind])
    size, length = gguf.constants.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    seed = int(np.abs(weight[0, 0]) * 1e6)
    blocks = np.random.default_rng(seed).integers(0, 256, (weight.size // size, length), np.uint8)
    for start, factor in _K_FACTORS[kind]:
        blocks[:, start : start + 2] = np.array([factor], np.float16).view(np.uint8)
    return blocks.reshape(len(weight), -1)


def _add_tokenizer(writer: Any, folder: Path) -> None:
    """A byte-level BPE whose first tokens are padding, start and end."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocab, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    special = {token["id"] for token in tokenizer["added_tokens"]}
    kinds = [
        gguf.TokenType.CONTROL if number in special else gguf.TokenType.NORMAL for number in range(len(vocab))
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(vocab, key=vocab.get))
    writer.add_token_types(kinds)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
