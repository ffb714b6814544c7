"""The language model's graph: embeddings in, logits of the last position out, over fixed KV buffers.

    inputs_embeds [1, S, d], seqlens_k int32 [1] (total length - 1), total_sequence_length int32 scalar,
    past_key_values.{i}.key/.value [1, Hkv, L, head_dim]  ->  logits [1, 1, V], present.{i}.key/.value (same
    shape)

Keys and values are of the type that is computed in; all other floating inputs and outputs are float32.

The caller binds past and present of a layer to the same memory; GroupQueryAttention then appends in place,
and a prefill may start on a cache that already holds tokens. Per layer one product makes queries, keys and
values, and one makes gate and up. The last layer goes on with the last position alone as soon as its
attention is done.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v.export.checkpoint.llama import EMBEDDING, HEAD, LlamaWeights
from g4v.export.errors import ExportError
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Lowering
from g4v.export.graph.operators import MICROSOFT, SKIP_RMS_NORM
from g4v.export.quantisation.codes import BITS, Quantised
from g4v.export.quantisation.matmul_nbits import quantised_matmul
from g4v.export.quantisation.quantiser import Quantiser
from g4v.export.quantisation.round_to_nearest import RoundToNearest


def check_llama(config: Any) -> None:
    """ExportError for settings that the graph cannot express."""
    if config.model_type != "llama":
        raise ExportError(f"language model: model_type is {config.model_type!r}, expected 'llama'")
    if config.hidden_act != "silu":
        raise ExportError(f"language model: hidden_act {config.hidden_act!r} is not supported, only 'silu'")
    if config.head_dim % 16:
        raise ExportError(
            f"language model: head_dim is {config.head_dim}; GroupQueryAttention needs multiples of 16"
        )
    rope = config.rope_parameters["rope_type"]
    # Its table depends on the length of the prompt. That of "dynamic" does only behind the exported context.
    if rope == "longrope":
        raise ExportError(f"language model: rope_type {rope!r} is not supported")


def export_decoder(
    weights: LlamaWeights,
    folder: str | Path,
    precision: str = "fp32",
    progress: Callable[[float], None] = lambda share: None,
    rounding: Quantiser | None = None,
    stem: str = "decoder",
    lowering: Lowering = CPU,
) -> list[str]:
    """Writes the graph of a LlamaForCausalLM and its data; returns their names.

    precision: "int8" and "int4" round the weights of all products block by block
    (g4v.export.quantisation.codes), but for those whose codes are in the files already; the head has 8 bits
    in both.
    progress: called with the share that is done.
    rounding: how weights are rounded, by default each to the nearest code.
    stem: of the files.
    """
    config = weights.config
    check_llama(config)
    layers = range(config.num_hidden_layers)
    cache_shape = [1, config.num_key_value_heads, "cache_length", config.head_dim]
    # g4v.export.passes.keep_in_float32 does not rewrite this graph.
    with lowering.open(folder, stem, refuses_overflow=True) as ops:
        g = ops.g
        if precision in BITS:
            rounding = rounding or RoundToNearest(weights, precision)
        w = _Products(ops, weights, rounding)
        x = g.input("inputs_embeds", "float32", [1, "sequence", config.hidden_size])
        seqlens = g.input("seqlens_k", "int32", [1])
        total = g.input("total_sequence_length", "int32", [])
        tables = [g.weight(table) for table in _rotary_tables(weights)]
        pasts = [
            [g.input(f"past_key_values.{i}.{part}", g.dtype.name, cache_shape) for part in ("key", "value")]
            for i in layers
        ]
        n = w.first_norm(x, "model.layers.0.input_layernorm")
        for i in layers:
            progress(i / len(layers))
            last = i + 1 == len(layers)
            attention, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
            qkv = w.product(n, f"{attention}.q_proj", f"{attention}.k_proj", f"{attention}.v_proj")
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
            a = w.product(a, f"{attention}.o_proj")
            n, x = w.skip_norm(a, x, f"model.layers.{i}.post_attention_layernorm")
            gate_up = w.product(n, f"{mlp}.gate_proj", f"{mlp}.up_proj")
            gate, up = g.op("Split", gate_up, outputs=2, axis=-1, num_outputs=2)
            h = w.product(g.op("Mul", ops.silu(gate), up), f"{mlp}.down_proj")
            n, x = w.skip_norm(h, x, "model.norm" if last else f"model.layers.{i + 1}.input_layernorm")
        g.output("logits", w.product(n, HEAD), "float32", [1, 1, config.vocab_size])
        for i in layers:
            for part in ("key", "value"):
                g.output(f"present.{i}.{part}", f"present.{i}.{part}", g.dtype.name, cache_shape)
        g.save()
        return g.files


def write_embedding(weights: LlamaWeights, path: str | Path) -> None:
    """Writes the token embeddings as raw little-endian float32, row-major [V, d]."""
    array = weights.read(f"{EMBEDDING}.weight").numpy()
    with open(path, "wb") as file:
        file.write(array.astype("<f4", copy=False).data)


def _rotary_tables(weights: LlamaWeights) -> tuple[Tensor, Tensor]:
    """cos and sin, float32 [context length, head_dim / 2]."""
    frequencies, scaling = weights.rotary_frequencies()
    length = weights.config.max_position_embeddings
    angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies[None]
    return angles.cos() * scaling, angles.sin() * scaling


class _Products:
    """The operators that have weights, which are named as in transformers and read when they are written."""

    def __init__(self, ops: Lowering, weights: LlamaWeights, rounding: Quantiser | None) -> None:
        self.g, self.ops, self.weights, self.rounding = ops.g, ops, weights, rounding
        self.epsilon = weights.config.rms_norm_eps

    def product(self, x: str, *names: str) -> str:
        """One product for several linear layers that read the same x."""
        bias = None
        if f"{names[0]}.bias" in self.weights:
            bias = torch.cat([self.weights.read(f"{name}.bias") for name in names])
        if self.rounding:
            # Codes of a file may be of several kinds, which then are a product each.
            kinds = [list(parts) for _, parts in groupby(self.rounding(*names), lambda part: part.kind)]
            if len(kinds) == 1:
                return quantised_matmul(self.g, x, Quantised.of_rows(kinds[0]), bias)
            made = [quantised_matmul(self.g, x, Quantised.of_rows(parts)) for parts in kinds]
            y = self.g.concat(*made, axis=-1)
            return y if bias is None else self.g.op("Add", y, self.g.weight(bias))
        matrix = torch.cat([self.weights.read(f"{name}.weight") for name in names])
        return self.ops.matmul(x, matrix.t(), bias)

    def first_norm(self, x: str, name: str) -> str:
        scale = self.g.weight(self.weights.read(f"{name}.weight"))
        return self.g.op("SimplifiedLayerNormalization", x, scale, axis=-1, epsilon=self.epsilon)

    def skip_norm(self, x: str, skip: str, name: str) -> tuple[str, str]:
        """s = x + skip; returns (RMS norm of s, s)."""
        out = f"{x}.norm"
        self.g.op(
            SKIP_RMS_NORM,
            x,
            skip,
            self.g.weight(self.weights.read(f"{name}.weight")),
            outputs=[out, "", "", f"{out}.sum"],
            domain=MICROSOFT,
            epsilon=self.epsilon,
        )
        return out, f"{out}.sum"
