"""The abstractor's graph: features [T, N, d] -> video_tokens [Q+1, D].

For the CPU it is written as two, so that what was computed of a frame can be kept while a video goes on:

    STEM_memory.onnx    features [T, N, d] -> memory [T, N, layers*2*d], each frame by itself
    STEM.onnx           memory -> video_tokens

The exact rewrites, done here once:
* The memory is normalised once, without scale and shift; those of each layer's normk are folded into its
  key and value products, which makes keys and values of all layers ONE product [T*N, d] x [d, layers*2*d].
* That product has no bias. Scores may all be shifted alike: what the bias b of the memory's keys adds to
  theirs, q.b, is taken from those of the own keys instead, q.(k - b). The weights of a query add up to one:
  the bias c of the memory's values is added behind the attention, where it is part of the output product's
  bias, and taken from the own values, v - c.
* The first layer's queries do not depend on the input: their normalised values and all their projections are
  constants.
* Keys and values are read where that product left them, by one operator of ours: no Split, and no Concat with
  the keys of the queries.
* A single frame is read by the spatial queries alone: the constants are cut to them inside the graph.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from g4v.export.graph.stems import memory_stem
from g4v.export.graph.writer import Graph
from g4v.model.abstractor import VideoAbstractor


def folded_memory_product(abstractor: VideoAbstractor) -> tuple[Tensor, Tensor]:
    """K and V of all layers, one product over the memory normalised without affine.

    Returns weight [d, layers*2*d] and bias [layers, 2, d] in float64.
    """
    weights, biases = [], []
    for layer in abstractor.encoder.layers:
        norm = layer.crossattention.normk
        for product in (layer.crossattention.attention.key, layer.crossattention.attention.value):
            weight = product.weight.double()
            weights.append((weight * norm.weight.double()).t())
            biases.append(product.bias.double() + weight @ norm.bias.double())
    return torch.cat(weights, dim=1), torch.stack(biases).unflatten(0, (-1, 2))


def export_abstractor(
    abstractor: VideoAbstractor, folder: str | Path, stem: str = "abstractor", kind: type[Graph] = Graph
) -> list[str]:
    """Writes the graph, or the two, and their data into `folder`; returns their names.

    The graph that makes the tokens comes first, each graph before its data.
    """
    config = abstractor.config
    tokens, memory = [config.output_tokens, config.output_size], config.num_layers * 2 * config.hidden_size
    with torch.no_grad():
        weight, biases = folded_memory_product(abstractor)
        if not kind.keeps_frames:
            with kind(folder, stem) as g:
                features = g.input("features", "float32", ["frames", "tokens", config.hidden_size])
                made = _tokens(g, _memory(g, features, abstractor, weight), abstractor, biases)
                g.output("video_tokens", made, "float32", tokens)
                g.save()
            return g.files
        with kind(folder, memory_stem(stem)) as first:
            features = first.input("features", "float32", ["frames", "tokens", config.hidden_size])
            made = _memory(first, features, abstractor, weight)
            first.output("memory", made, "float32", ["frames", "tokens", memory])
            first.save()
        with kind(folder, stem) as g:
            given = g.input("memory", "float32", ["frames", "tokens", memory])
            g.output("video_tokens", _tokens(g, given, abstractor, biases), "float32", tokens)
            g.save()
        return [*g.files, *first.files]


def _memory(g: Graph, features: str, abstractor: VideoAbstractor, weight: Tensor) -> str:
    """Keys and values of all layers, without biases: [T, N, layers*2*d]. weight: of the folded product."""
    layers = [layer.crossattention for layer in abstractor.encoder.layers]
    plain = nn.LayerNorm(abstractor.config.hidden_size, eps=layers[0].normk.eps)  # scale one, shift zero
    return g.rounded_matmul(g.layer_norm(features, plain), weight)


def _tokens(g: Graph, memory: str, abstractor: VideoAbstractor, memory_biases: Tensor) -> str:
    """The queries' way through the layers: [Q+1, D] from the memory [T, N, layers*2*d], which lacks
    memory_biases [layers, 2, d].
    """
    config = abstractor.config
    width, spatial = config.hidden_size, config.num_queries
    layers = [layer.crossattention for layer in abstractor.encoder.layers]
    queries = _QueryCount(g, memory, spatial, spatial + config.num_temporal_queries)
    keys_values = g.reshape(memory, 1, -1, len(layers) * 2 * width)

    start = torch.cat([abstractor.query_tokens, abstractor.temporal_query_tokens], dim=1).double()
    q = nn.functional.layer_norm(
        start,
        (width,),
        layers[0].norm1.weight.double(),
        layers[0].norm1.bias.double(),
        layers[0].norm1.eps,
    )
    x = queries.cut(g.weight(q))

    for i, layer in enumerate(layers):
        # Queries, own keys and own values side by side.
        weight = torch.cat([p.weight for p in _projections(layer)]).t()
        bias = torch.cat([p.bias for p in _projections(layer)]).double()
        bias[width:] -= memory_biases[i].flatten()
        if i == 0:
            fused = queries.cut(g.weight(q @ weight.double() + bias))
        else:
            fused = g.rounded_matmul(x, weight, bias)
        a = g.memory_attention(fused, keys_values, config.num_heads, width, i)
        out = layer.output
        a = g.rounded_matmul(a, out.out_proj.weight.t())
        bias = out.out_proj.bias.double() + out.out_proj.weight.double() @ memory_biases[i, 1]
        # The residual is the normalised query.
        n, y = g.residual_norm(a, x, out.norm2, bias)
        h = g.gated_norm(n, out.mlp.w1, out.mlp.w3, out.mlp.ffn_ln)
        h = g.tiled_matmul(h, out.mlp.w2.weight.t())
        if i + 1 < len(layers):
            x, _ = g.residual_norm(h, y, layers[i + 1].norm1, out.mlp.w2.bias)
        else:
            x = g.op("Add", g.op("Add", h, g.weight(out.mlp.w2.bias)), y)

    head, temporal_head = abstractor.visual_fc, abstractor.temporal_visual_fc
    tokens = g.tiled_matmul(g.slice(x, 1, 0, spatial), head.weight.t(), head.bias)
    temporal = g.tiled_matmul(g.slice(x, 1, spatial), temporal_head.weight.t(), temporal_head.bias)
    # For a single frame `temporal` has no rows: zeros stand in for it.
    zeros = g.weight(torch.zeros(1, spatial, config.output_size))
    temporal = g.slice(g.concat(temporal, zeros, axis=1), 1, 0, spatial)
    tokens = g.op("Add", tokens, temporal)
    tokens = g.concat(tokens, g.weight(abstractor.vit_eos), axis=1)
    return g.op("Squeeze", tokens, g.ints(0))


def _projections(layer: nn.Module) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    return layer.attention.query, layer.attention.key, layer.attention.value


class _QueryCount:
    """The number of queries that take part, computed from the number of frames."""

    def __init__(self, g: Graph, memory: str, spatial: int, total: int) -> None:
        self._graph = g
        single = g.op("Equal", g.dimension(memory, 0), g.ints(1))
        self._count = g.op("Where", single, g.ints(spatial), g.ints(total))

    def cut(self, constant: str) -> str:
        """The first rows of a constant [1, Q, d]."""
        g = self._graph
        return g.op("Slice", constant, g.ints(0), self._count, g.ints(1))
