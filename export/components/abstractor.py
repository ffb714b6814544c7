"""The connector's graph: features [T, N, d] -> video_tokens.

    mplug-owl, the abstractor   video_tokens [Q+1, D] of the clip
    pixel-shuffle, mlp          video_tokens [T*Q, D], Q of each frame

For the CPU the abstractor is written as two, so that what was computed of a frame can be kept while a video
goes on:

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
from typing import Any

import torch
from torch import Tensor, nn

from g4v.export.components.component import Component
from g4v.export.components.connector import export_mlp, export_pixel_shuffle
from g4v.export.components.profile import DimensionRange, ShapeProfile
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Int8, Lowering
from g4v.export.graph.stems import memory_stem
from g4v.export.graph.writer import GraphWriter
from g4v.export.verify.comparison import INT8_TOLERANCE, Feeds, verify_abstractor
from g4v.model.abstractor import VideoAbstractor
from g4v.model.connector import Connector, MlpConnector, PixelShuffle


class Abstractor(Component):
    """Tokens for the language model from the features of frames: few of a clip, or some of each frame."""

    name = "abstractor"
    int8_tolerance = INT8_TOLERANCE

    def load(self) -> VideoAbstractor | Connector:
        return self.checkpoint.abstractor()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        if isinstance(module, MlpConnector):
            return export_mlp(module, folder, stem, lowering)
        export = export_pixel_shuffle if isinstance(module, PixelShuffle) else export_abstractor
        return export(module, folder, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        config = module.config
        return {
            **({"kind": module.kind} if isinstance(module, Connector) else {}),
            "hidden_size": config.hidden_size,
            "output_tokens": config.output_tokens,
            "output_size": config.output_size,
        }

    @property
    def profile(self) -> ShapeProfile:
        """Clips of up to the run's own number of frames, with all tokens of each."""
        frames = int(self.checkpoint.about["frames"])
        sizes = {"frames": DimensionRange(1, frames, frames)}
        if not self.checkpoint.has_frame_tokens():  # else their number is no dimension that may change
            sizes["tokens"] = DimensionRange.fixed(self.checkpoint.tokens_per_frame())
        return sizes

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        frames, tokens = self.checkpoint.compared_frames(), self.checkpoint.tokens_per_frame()
        return verify_abstractor(module, folder, frames, tokens, stem, feeds)


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
    abstractor: VideoAbstractor, folder: str | Path, stem: str = "abstractor", lowering: Lowering = CPU
) -> list[str]:
    """Writes the graph, or the two, and their data into `folder`; returns their names.

    The graph that makes the tokens comes first, each graph before its data.
    """
    config = abstractor.config
    tokens, memory = [config.output_tokens, config.output_size], config.num_layers * 2 * config.hidden_size
    with torch.no_grad():
        weight, biases = folded_memory_product(abstractor)
        if not lowering.caches_frames:
            with lowering.open(folder, stem) as ops:
                g = ops.g
                features = g.input("features", "float32", ["frames", "tokens", config.hidden_size])
                made = _tokens(ops, _memory(ops, features, abstractor, weight), abstractor, biases)
                g.output("video_tokens", made, "float32", tokens)
                g.save()
            return g.files
        with lowering.open(folder, memory_stem(stem)) as ops:
            first = ops.g
            features = first.input("features", "float32", ["frames", "tokens", config.hidden_size])
            made = _memory(ops, features, abstractor, weight)
            first.output("memory", made, "float32", ["frames", "tokens", memory])
            first.save()
        with lowering.open(folder, stem) as ops:
            g = ops.g
            given = g.input("memory", "float32", ["frames", "tokens", memory])
            g.output("video_tokens", _tokens(ops, given, abstractor, biases), "float32", tokens)
            g.save()
        return [*g.files, *first.files]


def _memory(ops: Lowering, features: str, abstractor: VideoAbstractor, weight: Tensor) -> str:
    """Keys and values of all layers, without biases: [T, N, layers*2*d]. weight: of the folded product."""
    layers = [layer.crossattention for layer in abstractor.encoder.layers]
    plain = nn.LayerNorm(abstractor.config.hidden_size, eps=layers[0].normk.eps)  # scale one, shift zero
    return _quantised_matmul(ops, ops.layer_norm(features, plain), weight)


def _quantised_matmul(ops: Lowering, x: str, weight: Tensor, bias: Tensor | None = None) -> str:
    """A product of many rows whose input is spread evenly enough for one scale."""
    return ops.matmul(x, weight, bias, int8=Int8.PER_TENSOR, many_rows=True)


def _tokens(ops: Lowering, memory: str, abstractor: VideoAbstractor, memory_biases: Tensor) -> str:
    """The queries' way through the layers: [Q+1, D] from the memory [T, N, layers*2*d], which lacks
    memory_biases [layers, 2, d].
    """
    g, config = ops.g, abstractor.config
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
            fused = _quantised_matmul(ops, x, weight, bias)
        a = ops.memory_attention(fused, keys_values, config.num_heads, width, i)
        out = layer.output
        a = _quantised_matmul(ops, a, out.out_proj.weight.t())
        bias = out.out_proj.bias.double() + out.out_proj.weight.double() @ memory_biases[i, 1]
        # The residual is the normalised query.
        n, y = ops.residual_norm(a, x, out.norm2, bias)
        h = ops.gated_norm(n, out.mlp.w1, out.mlp.w3, out.mlp.ffn_ln)
        h = ops.matmul(h, out.mlp.w2.weight.t(), many_rows=True)
        if i + 1 < len(layers):
            x, _ = ops.residual_norm(h, y, layers[i + 1].norm1, out.mlp.w2.bias)
        else:
            x = g.op("Add", g.op("Add", h, g.weight(out.mlp.w2.bias)), y)

    head, temporal_head = abstractor.visual_fc, abstractor.temporal_visual_fc
    tokens = ops.matmul(g.slice(x, 1, 0, spatial), head.weight.t(), head.bias, many_rows=True)
    temporal = g.slice(x, 1, spatial)
    temporal = ops.matmul(temporal, temporal_head.weight.t(), temporal_head.bias, many_rows=True)
    # For a single frame `temporal` has no rows: zeros stand in for it.
    zeros = g.weight(torch.zeros(1, spatial, config.output_size))
    temporal = g.slice(g.concat(temporal, zeros, axis=1), 1, 0, spatial)
    tokens = g.op("Add", tokens, temporal)
    tokens = g.concat(tokens, g.weight(abstractor.vit_eos), axis=1)
    return g.op("Squeeze", tokens, g.ints(0))


def _projections(layer: Any) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    return layer.attention.query, layer.attention.key, layer.attention.value


class _QueryCount:
    """The number of queries that take part, computed from the number of frames."""

    def __init__(self, g: GraphWriter, memory: str, spatial: int, total: int) -> None:
        self._graph = g
        single = g.op("Equal", g.dimension(memory, 0), g.ints(1))
        self._count = g.op("Where", single, g.ints(spatial), g.ints(total))

    def cut(self, constant: str) -> str:
        """The first rows of a constant [1, Q, d]."""
        g = self._graph
        return g.op("Slice", constant, g.ints(0), self._count, g.ints(1))
