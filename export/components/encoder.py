"""The video encoder's graph, of each flavour: pixel_values [T, 3, S, S] -> features [T, N, d]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from g4v.export.components.component import Component
from g4v.export.components.profile import DimensionRange, ShapeProfile
from g4v.export.components.transformer import clip_hidden_states, clip_layers, int8_of_layer
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Int8, Lowering
from g4v.export.graph.writer import GraphWriter
from g4v.export.verify.comparison import Feeds, verify_encoder
from g4v.model.clip_features import ClipFeatures
from g4v.model.siglip import SiglipEncoder
from g4v.model.vision import ClipEncoder, MplugOwlVideoTower, VideoEncoder


class Encoder(Component):
    """Features of video frames."""

    name = "encoder"

    def load(self) -> VideoEncoder:
        return self.checkpoint.encoder()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        return export_encoder(module, folder, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        mean, std = self.checkpoint.image_statistics()
        return {
            "image_size": module.image_size,
            "mean": mean,
            "std": std,
            "hidden_size": module.hidden_size,
            "tokens_per_frame": module.tokens_per_frame,
            "flavour": module.flavour,
            **self.checkpoint.resizing(),
        }

    @property
    def profile(self) -> ShapeProfile:
        """Clips of up to the run's own number of frames."""
        frames = int(self.checkpoint.about["frames"])
        return {"frames": DimensionRange(1, frames, frames)}

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify_encoder(module, folder, self.checkpoint.compared_frames(), stem, feeds)


def export_encoder(
    encoder: VideoEncoder, folder: str | Path, stem: str = "encoder", lowering: Lowering = CPU
) -> list[str]:
    """Writes the graph and its data into `folder`; returns their names."""
    with lowering.open(folder, stem) as ops:
        g = ops.g
        size, tokens, width = encoder.image_size, encoder.tokens_per_frame, encoder.hidden_size
        pixels = g.input("pixel_values", "float32", ["frames", 3, size, size])
        if isinstance(encoder, ClipEncoder):
            features = _clip(ops, pixels, encoder)
        elif isinstance(encoder, ClipFeatures):
            features = _clip_features(ops, pixels, encoder)
        elif isinstance(encoder, SiglipEncoder):
            features = _siglip(ops, pixels, encoder)
        else:
            features = _tower(ops, pixels, encoder)
        g.output("features", features, "float32", ["frames", tokens, width])
        g.save()
        return g.files


def _embed(g: GraphWriter, pixels: str, patches: torch.nn.Conv2d, cls: Tensor, positions: Tensor) -> str:
    """Patch embedding, class token and positions: [T, 3, S, S] -> [T, N, d]. cls [d], positions [N, d].

    The class token is a constant, so its position is added to it here.
    """
    width = patches.out_channels
    stride = list(patches.stride)
    x = g.op("Conv", pixels, g.weight(patches.weight), kernel_shape=stride, strides=stride)
    x = g.transpose(g.reshape(x, 0, width, -1), 0, 2, 1)
    x = g.op("Add", x, g.weight(positions[1:]))
    first = g.weight((cls + positions[0])[None, None])
    shape = g.concat(g.dimension(pixels, 0), g.ints(1, width), axis=0)
    return g.concat(g.op("Expand", first, shape), x, axis=1)


def _clip_embeddings(ops: Lowering, pixels: str, model: Any) -> str:
    embeddings = model.embeddings
    x = _embed(
        ops.g,
        pixels,
        embeddings.patch_embedding,
        embeddings.class_embedding,
        embeddings.position_embedding.weight,
    )
    return ops.layer_norm(x, model.pre_layrnorm)


def _clip(ops: Lowering, pixels: str, encoder: ClipEncoder) -> str:
    x = _clip_embeddings(ops, pixels, encoder.model)
    return clip_layers(ops, x, encoder.model, encoder.model.post_layernorm, causal=False)


def _clip_features(ops: Lowering, pixels: str, encoder: ClipFeatures) -> str:
    x = _clip_embeddings(ops, pixels, encoder.model)
    states = clip_hidden_states(ops, x, encoder.model, max(encoder.layers))
    chosen = [states[layer] for layer in encoder.layers]
    features = chosen[0] if len(chosen) == 1 else ops.g.concat(*chosen, axis=2)
    return features if encoder.class_token else ops.g.slice(features, 1, 1)


def _siglip(ops: Lowering, pixels: str, encoder: SiglipEncoder) -> str:
    g, model = ops.g, encoder.model
    patches = model.embeddings.patch_embedding
    stride = list(patches.stride)
    x = g.op("Conv", pixels, g.weight(patches.weight), kernel_shape=stride, strides=stride)
    x = g.transpose(g.reshape(x, 0, patches.out_channels, -1), 0, 2, 1)
    # The patches' bias is the same for all: it is added to their positions here.
    x = g.op("Add", x, g.weight(encoder.positions() + patches.bias))
    return clip_layers(ops, x, model, model.post_layernorm, causal=False)


def _tower(ops: Lowering, pixels: str, tower: MplugOwlVideoTower) -> str:
    g, config, embeddings = ops.g, tower.config, tower.embeddings
    x = _embed(
        g, pixels, embeddings.patch_embed, embeddings.cls_token[0, 0], embeddings.position_embedding[0]
    )
    # In a clip of several frames every layer doubles the class token: float16 would not hold it for long.
    x = g.upcast(ops.layer_norm(x, embeddings.pre_layernorm))
    # 1 for a clip of several frames, 0 for a single one, which skips the temporal path.
    several = g.op("Greater", g.dimension(pixels, 0), g.ints(1))
    several = g.op("Cast", several, to=TensorProto.FLOAT)
    for i, layer in enumerate(tower.encoder.layers):
        int8 = int8_of_layer(i)
        t = g.op("Mul", _temporal(ops, x, layer.temporal, int8), several)
        n, x = ops.skip_layer_norm(t, x, layer.input_layernorm)
        weight, bias = _split_heads(layer.self_attn.query_key_value, config.num_heads)
        a = ops.self_attention(n, weight, bias, config.num_heads, int8=int8)
        a = ops.linear(a, layer.self_attn.dense, bias=False, int8=int8)
        n, x = ops.skip_layer_norm(a, x, layer.post_attention_layernorm, layer.self_attn.dense.bias)
        h = ops.quick_gelu(ops.linear(n, layer.mlp.fc1, int8=int8))
        x = g.upcast(g.op("Add", x, g.upcast(ops.linear(h, layer.mlp.fc2, int8=int8))))
    return ops.layer_norm(x, tower.post_layernorm)


def _split_heads(fused: torch.nn.Linear, heads: int) -> tuple[Tensor, Tensor]:
    """The projection laid out as [heads, 3, head_dim] in the order of all queries, all keys, all values."""
    weight = fused.weight.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)
    bias = fused.bias.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten()
    return weight.t(), bias


def _temporal(ops: Lowering, x: str, block: Any, int8: Int8 | None) -> str:
    """The temporal block: x [T, N, d] -> [T, N, d], the class token as it is."""
    g = ops.g
    cls = g.slice(x, 1, 0, 1)
    patches = ops.layer_norm(g.slice(x, 1, 1), block.ln)
    patches = ops.matmul(patches, block.down_proj.weight.flatten(1).t(), block.down_proj.bias, int8=int8)
    padded = g.op("Pad", patches, g.ints(1, 0, 0, 1, 0, 0))
    taps = block.conv.weight[:, 0, :, 0, 0]  # [d/2, 3]
    spans = (g.slice(padded, 0, 0, -2), patches, g.slice(padded, 0, 2))
    total = g.weight(block.conv.bias)
    for i, span in enumerate(spans):
        total = g.op("Add", total, g.op("Mul", span, g.weight(taps[:, i])))
    h = ops.quick_gelu(total)
    h = ops.matmul(h, block.up_proj.weight.flatten(1).t(), block.up_proj.bias, int8=int8)
    return g.concat(cls, g.upcast(h), axis=1)


def sample_pixels(encoder: VideoEncoder, frames: int, seed: int) -> np.ndarray:
    """Random input in the range of normalised pixels, float32 [frames, 3, S, S]."""
    size = encoder.image_size
    return np.random.default_rng(seed).normal(size=(frames, 3, size, size)).astype(np.float32)
