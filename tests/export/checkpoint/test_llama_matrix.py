"""Generated checkpoints: training's reader, exported weights, graphs and the core's own decoder compute what
transformers does.

Layouts, types, shards, tied heads, rotary positions, heads, biases and kinds of GGUF blocks are drawn from a
seed. For folders the reference is transformers' own loading, for GGUF files a LlamaForCausalLM of the weights
that the package gguf dequantises.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import gguf
import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from g4v.export.checkpoint.llama import LlamaWeights
from g4v.export.components.decoder_graph import export_decoder
from g4v.export.components.packed_decoder import write_packed
from g4v.export.verify.packed import run_packed
from g4v.model.bases import load_llm
from g4v.ops import custom_ops_library
from gguf_files import write_gguf

COUNT = 40
TOLERANCE = 1e-4  # float32; logits are of the order of 1
LENGTH = 40
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# The K kinds have blocks of 256 weights.
KINDS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
SCALED = {"factor": 4.0, "original_max_position_embeddings": 16}
ROPES = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "llama3": {"rope_type": "llama3", **SCALED, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "yarn": {"rope_type": "yarn", **SCALED},
}


class Drawn:
    """One checkpoint in a folder, and the reference's model."""

    def __init__(self, seed: int, folder: Path) -> None:
        draw = random.Random(seed)
        torch.manual_seed(seed)
        self.layout = ("gguf", "safetensors", "gguf", "pickles")[seed % 4]
        kind = KINDS[seed // 2 % len(KINDS)] if self.layout == "gguf" else ""
        heads, kv_heads = draw.choice([(4, 4), (4, 2), (4, 1), (2, 2), (6, 3)])
        head_dim = draw.choice([16, 32])
        hidden = 256 if kind.endswith("K") else heads * 16 * draw.choice([1, 2]) // heads * heads
        hidden = hidden if hidden % heads == 0 and hidden % 32 == 0 else 32 * heads
        rope = draw.choice(list(ROPES))
        tied = draw.choice(["no", "no", "tied", "twice", "other head"])
        bias = {"attention_bias": draw.random() < 0.3, "mlp_bias": draw.random() < 0.3}
        if self.layout == "gguf":  # which can say neither
            rope = "default" if rope == "dynamic" else rope
            tied = {"twice": "tied", "other head": "no"}.get(tied, tied)
        self.dtype = "float32" if self.layout == "gguf" else draw.choice(list(DTYPES))
        shards = draw.choice([1, 1, 2, 5])
        self.about = f"seed {seed}: {self.layout} {kind or self.dtype} {heads}/{kv_heads}x{head_dim} "
        self.about += f"{rope}, tied {tied}, {bias}, {shards} shards"
        config = LlamaConfig(
            vocab_size=draw.choice([50, 67, 96]),
            hidden_size=hidden,
            num_hidden_layers=draw.choice([1, 2, 3]),
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            intermediate_size=256 if kind.endswith("K") else draw.choice([32, 96]),
            max_position_embeddings=64,
            rms_norm_eps=draw.choice([1e-5, 1e-6]),
            rope_parameters={**ROPES[rope], "rope_theta": draw.choice([1e4, 5e5])},
            tie_word_embeddings=tied != "no",
            initializer_range=1.5 / hidden**0.5,
            **bias,
        )
        self.place = _save(config, folder / "llm", self.layout, tied, DTYPES[self.dtype], shards)
        if self.layout == "gguf":
            self.place = _write_gguf(self.place, folder / "model.gguf", kind, config, draw)
            self.reference = _from_gguf(self.place, config)
        else:
            self.reference = AutoModelForCausalLM.from_pretrained(self.place, dtype=torch.float32).eval()
        self.config = config


def _save(config, folder, layout, tied, dtype, shards):
    model = LlamaForCausalLM(config)
    tensors = {n: t.detach().clone() for n, t in model.state_dict().items()}
    for name in tensors:
        if name.endswith("bias") or "norm" in name:
            tensors[name] += torch.randn_like(tensors[name]) * 0.2
    if tied == "other head":
        tensors["lm_head.weight"] = torch.randn_like(tensors["lm_head.weight"]) * config.initializer_range
    elif tied == "tied":
        del tensors["lm_head.weight"]
    model.config.save_pretrained(folder)
    stem, suffix = ("pytorch_model", "bin") if layout == "pickles" else ("model", "safetensors")
    where, names = {}, random.Random(0).sample(sorted(tensors), len(tensors))
    for i in range(shards):
        file = f"{stem}-{i + 1:05d}-of-{shards:05d}.{suffix}" if shards > 1 else f"{stem}.{suffix}"
        part = {name: tensors[name].to(dtype).contiguous() for name in names[i::shards]}
        where.update(dict.fromkeys(part, file))
        if layout == "pickles":
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file, {"format": "pt"})
    if shards > 1:
        index = {"metadata": {}, "weight_map": where}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return folder


def _write_gguf(folder, path, kind, config, draw):
    """Scaled positions are keys in it, and those of Llama 3 a tensor of factors."""
    rope, factors, old = config.rope_parameters, None, draw.random() < 0.5
    if rope["rope_type"] == "llama3":
        plain = rope["rope_theta"] ** -(np.arange(0, config.head_dim, 2) / config.head_dim)
        factors = plain / LlamaForCausalLM(config).model.rotary_emb.inv_freq.numpy()

    def more(writer):
        if rope["rope_type"] == "linear" and old:
            writer.add_float32("llama.rope.scale_linear", rope["factor"])
        elif rope["rope_type"] in ("linear", "yarn"):
            writer.add_float32("llama.rope.scaling.factor", rope["factor"])
        if rope["rope_type"] == "yarn":
            writer.add_string("llama.rope.scaling.type", "yarn")
            original = rope["original_max_position_embeddings"]
            writer.add_uint32("llama.rope.scaling.original_context_length", original)

    skip = ["head_count_kv"] if config.num_key_value_heads == config.num_attention_heads and old else []

    def kind_of(name):
        block = 256 if kind.endswith("K") else 32
        columns = config.intermediate_size if "ffn_down" in name else config.hidden_size
        columns = config.num_attention_heads * config.head_dim if "attn_output" in name else columns
        return kind if columns % block == 0 else "F16"

    return write_gguf(folder, path, factors, kind_of=kind_of, skip=skip, more=more)


def _from_gguf(path, config):
    """Independent of the reader that is tested: names, blocks and the order of rows."""
    names = {
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "output": "lm_head",
    }
    state = {}
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.name == "rope_freqs.weight":
            continue
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = torch.from_numpy(values.reshape(list(reversed(tensor.shape.tolist()))).copy())
        *layer, name, kind = tensor.name.split(".")
        prefix = f"model.layers.{layer[1]}." if layer else ""
        if name in ("attn_q", "attn_k"):
            count = config.num_attention_heads if name == "attn_q" else config.num_key_value_heads
            heads = values.reshape(count, config.head_dim, -1)
            values = torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).reshape(values.shape)
        state[f"{prefix}{names[name]}.{kind}"] = values
    state.setdefault("lm_head.weight", state["model.embed_tokens.weight"])
    model = LlamaForCausalLM(config).eval()
    model.load_state_dict(state)
    return model


def _exported(weights):
    values = {**weights.config.to_dict(), "tie_word_embeddings": False}
    model = LlamaForCausalLM(LlamaConfig(**values)).eval()
    model.load_state_dict({name: weights.read(name) for name in weights.shapes})
    return model


def _graph(weights, folder, ids):
    """Logits of the exported graph behind the first half of the ids, and behind each of the next three."""
    export_decoder(weights, folder)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(custom_ops_library())
    session = onnxruntime.InferenceSession(folder / "decoder.onnx", options, ["CPUExecutionProvider"])
    config, table = weights.config, weights.read("model.embed_tokens.weight").numpy()
    pasts = [i.name for i in session.get_inputs() if i.name.startswith("past_key_values.")]
    shape = (1, config.num_key_value_heads, LENGTH, config.head_dim)
    buffers = {name: np.zeros(shape, np.float32) for name in pasts}
    results, done = [], 0
    for length in (LENGTH // 2, 1, 1, 1):
        done += length
        feeds = {
            "inputs_embeds": table[None, ids[done - length : done]],
            "seqlens_k": np.array([done - 1], np.int32),
            "total_sequence_length": np.array(done, np.int32),
            **buffers,
        }
        names = ["logits", *(name.replace("past_key_values", "present") for name in pasts)]
        found = session.run(names, feeds)
        buffers = dict(zip(pasts, found[1:], strict=True))
        results.append(torch.from_numpy(found[0][0, 0]))
    return torch.stack(results)


def _core(weights, folder, ids):
    """Logits of the core's own decoder at the places of `_graph`, from packed weights."""
    path = folder / write_packed(weights, folder, "fp32")
    embeds = weights.read("model.embed_tokens.weight")[ids].numpy()
    chunks = (LENGTH // 2, 1, 1, 1)
    return torch.from_numpy(run_packed(path, weights.config, embeds[: sum(chunks)], chunks))


@torch.no_grad()
def check(seed, folder):
    drawn = Drawn(seed, folder)
    ids = torch.randint(drawn.config.vocab_size, (LENGTH,))
    wanted = drawn.reference(ids[None]).logits[0]
    assert 0.3 < wanted.std() < 30, drawn.about
    weights = LlamaWeights(drawn.place)
    found = {
        "training": load_llm(drawn.place)(ids[None]).logits[0],
        "export": _exported(weights)(ids[None]).logits[0],
    }
    half = LENGTH // 2
    worst = {name: float((logits - wanted).abs().max()) for name, logits in found.items()}
    graph = _graph(weights, folder, ids.numpy())
    worst["graph"] = float((graph - wanted[half - 1 : half + 3]).abs().max())
    core = _core(weights, folder, ids)
    worst["core"] = float((core - wanted[half - 1 : half + 3]).abs().max())
    assert max(worst.values()) < TOLERANCE, f"{drawn.about}: {worst}"
    return drawn


@pytest.mark.parametrize("seed", [pytest.param(i, marks=[pytest.mark.slow] * (i >= 6)) for i in range(COUNT)])
def test_five_ways_to_the_same_logits(seed, tmp_path):
    check(seed, tmp_path)


def test_a_fresh_seed(tmp_path):
    """Printed where it fails."""
    check(random.SystemRandom().randrange(COUNT, 1 << 31), tmp_path)


@pytest.mark.slow
def test_the_seeds_draw_every_kind(tmp_path):
    """A matrix of which a row is never drawn would tell nothing about it."""
    drawn = []
    for seed in range(COUNT):
        (tmp_path / str(seed)).mkdir()
        drawn.append(Drawn(seed, tmp_path / str(seed)).about)
    words = ["safetensors float", "pickles", "gguf", "1 shards", "2 shards", "5 shards", "4/4", "4/2", "4/1"]
    words += [*(f"gguf {kind} " for kind in KINDS), *ROPES, *(f"tied {t}" for t in ("no", "tied", "twice"))]
    words += ["tied other head", "bfloat16", "float16", "'attention_bias': True", "'mlp_bias': True"]
    missing = [word for word in words if not any(word in about for about in drawn)]
    assert not missing
