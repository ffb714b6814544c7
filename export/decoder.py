"""The language model's graph: embeddings in, logits of the last position out, over fixed KV buffers.

    inputs_embeds [1, S, d], seqlens_k int32 [1] (total length - 1), total_sequence_length int32 scalar,
    past_key_values.{i}.key/.value [1, Hkv, L, head_dim]  ->  logits [1, 1, V], present.{i}.key/.value (same
    shape)

The caller binds past and present of a layer to the same memory; GroupQueryAttention then appends in place,
and a prefill may start on a cache that already holds tokens. Per layer one product makes queries, keys and
values, and one makes gate and up. The last layer goes on with the last position alone as soon as its
attention is done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from g4v.export.errors import ExportError
from g4v.export.graph import MICROSOFT, Graph, numpy32
from g4v.export.quantise import Quantised, codes_of
from torch import nn


def check_llama(config: Any) -> None:
    """ExportError for settings that the graph cannot express."""
    if config.model_type != "llama":
        raise ExportError(f"llm/config.json: model_type is {config.model_type!r}, expected 'llama'")
    if config.hidden_act != "silu":
        raise ExportError(f"llm/config.json: hidden_act {config.hidden_act!r} is not supported, only 'silu'")
    if config.head_dim % 16:
        raise ExportError(
            f"llm/config.json: head_dim is {config.head_dim}; GroupQueryAttention needs multiples of 16"
        )
    rope = config.rope_parameters["rope_type"]
    if rope in ("dynamic", "longrope"):  # their tables depend on the length of the prompt
        raise ExportError(f"llm/config.json: rope_type {rope!r} is not supported")


def rotary_tables(model: Any, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin, float32 [length, head_dim/2], of the model's own frequencies."""
    rotary = model.model.rotary_emb
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rotary.inv_freq.float()[None]
    return angles.cos() * rotary.attention_scaling, angles.sin() * rotary.attention_scaling


def export_decoder(model: Any, folder: str | Path, stem: str = "decoder") -> list[str]:
    """Writes the graph of a LlamaForCausalLM (adapters merged) and its data; returns their names.

    Linear layers that `quantise_linears` rounded are written with their codes.
    """
    config = model.config
    check_llama(config)
    layers = list(model.model.layers)
    cache_shape = [1, config.num_key_value_heads, "cache_length", config.head_dim]
    with Graph(folder, stem) as g:
        x = g.input("inputs_embeds", "float32", [1, "sequence", config.hidden_size])
        seqlens = g.input("seqlens_k", "int32", [1])
        total = g.input("total_sequence_length", "int32", [])
        tables = [g.weight(t) for t in rotary_tables(model, config.max_position_embeddings)]
        pasts = [
            [g.input(f"past_key_values.{i}.{part}", "float32", cache_shape) for part in ("key", "value")]
            for i in range(len(layers))
        ]
        n = _first_norm(g, x, layers[0].input_layernorm)
        for i, layer in enumerate(layers):
            last = i + 1 == len(layers)
            attention = layer.self_attn
            qkv = _fused(g, n, attention.q_proj, attention.k_proj, attention.v_proj)
            a, *_ = g.op(
                "GroupQueryAttention",
                qkv,
                "",
                "",
                *pasts[i],
                seqlens,
                total,
                *tables,
                outputs=[f"attention.{i}", f"present.{i}.key", f"present.{i}.value"],
                domain=MICROSOFT,
                num_heads=config.num_attention_heads,
                kv_num_heads=config.num_key_value_heads,
                scale=config.head_dim**-0.5,
                do_rotary=1,
                rotary_interleaved=0,
            )
            if last:
                a, x = g.slice(a, 1, -1), g.slice(x, 1, -1)
            a = _fused(g, a, attention.o_proj)
            n, x = _skip_norm(g, a, x, layer.post_attention_layernorm)
            gate_up = _fused(g, n, layer.mlp.gate_proj, layer.mlp.up_proj)
            gate, up = g.op("Split", gate_up, outputs=2, axis=-1, num_outputs=2)
            h = _fused(g, g.op("Mul", g.silu(gate), up), layer.mlp.down_proj)
            n, x = _skip_norm(g, h, x, model.model.norm if last else layers[i + 1].input_layernorm)
        g.output("logits", _fused(g, n, model.lm_head), "float32", [1, 1, config.vocab_size])
        for i in range(len(layers)):
            for part in ("key", "value"):
                g.output(f"present.{i}.{part}", f"present.{i}.{part}", "float32", cache_shape)
        g.save()
        return g.files


def write_embedding(model: Any, path: str | Path) -> None:
    """Writes the token embeddings as raw little-endian float32, row-major [V, d]."""
    array = numpy32(model.get_input_embeddings().weight)
    Path(path).write_bytes(array.astype("<f4", copy=False).tobytes())


def run_decoder(
    session: Any, embeds: np.ndarray, chunks: list[int], shape: tuple[int, ...]
) -> list[np.ndarray]:
    """Feeds embeds [S, d] in `chunks` (their lengths) through an onnxruntime session; logits [V] after each
    chunk.

    shape: of one cache buffer, [1, Hkv, L, head_dim].
    """
    pasts = [i.name for i in session.get_inputs() if i.name.startswith("past_key_values.")]
    buffers = {name: np.zeros(shape, np.float32) for name in pasts}
    results, done = [], 0
    for length in chunks:
        done += length
        feeds = {
            "inputs_embeds": embeds[None, done - length : done],
            "seqlens_k": np.array([done - 1], np.int32),
            "total_sequence_length": np.array(done, np.int32),
            **buffers,
        }
        names = ["logits", *(name.replace("past_key_values", "present") for name in pasts)]
        outputs = session.run(names, feeds)
        buffers = dict(zip(pasts, outputs[1:], strict=True))
        results.append(outputs[0][0, 0])
    return results


def _fused(g: Graph, x: str, *modules: nn.Linear) -> str:
    """One product for several Linears that read the same x."""
    bias = None
    if modules[0].bias is not None:
        bias = torch.cat([m.bias for m in modules])
    parts = [quantised for module in modules if (quantised := codes_of(module)) is not None]
    if parts:
        return g.quantised_matmul(x, Quantised.of_rows(parts), bias)
    return g.matmul(x, torch.cat([m.weight for m in modules]).t(), bias)


def _first_norm(g: Graph, x: str, norm: nn.Module) -> str:
    return g.op(
        "SimplifiedLayerNormalization", x, g.weight(norm.weight), axis=-1, epsilon=norm.variance_epsilon
    )


def _skip_norm(g: Graph, x: str, skip: str, norm: nn.Module) -> tuple[str, str]:
    """s = x + skip; returns (RMS norm of s, s)."""
    name = f"{x}.norm"
    g.op(
        "SkipSimplifiedLayerNormalization",
        x,
        skip,
        g.weight(norm.weight),
        outputs=[name, "", "", f"{name}.sum"],
        domain=MICROSOFT,
        epsilon=norm.variance_epsilon,
    )
    return name, f"{name}.sum"
