"""Graphs of the video tower and the abstractor against their published formulas, written out in float64.

The reference shares no code with the modules: it reads only tensors, by their names in the public checkpoint.
At full size it is ViT-L/14 with 24 layers and an abstractor of 6, as in mPLUG-Owl's video checkpoint.
"""

import math

import onnxruntime
import pytest
import torch

from g4v.export.components.abstractor import export_abstractor
from g4v.export.components.encoder import export_encoder
from g4v.export.verify.error_measures import relative_error
from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig, VideoTowerConfig
from g4v.model.vision import MplugOwlVideoTower
from g4v.ops import custom_ops_library

TOWER = VideoTowerConfig(
    hidden_size=48, num_layers=3, num_heads=3, intermediate_size=80, image_size=42, patch_size=14
)
ABSTRACTOR = AbstractorConfig(
    hidden_size=48, num_layers=2, num_heads=3, intermediate_size=72, num_queries=7, num_temporal_queries=7,
    memory_size=48, output_size=56,
)  # fmt: skip


class Formulas:
    """Named weights, and the layers that they are for; everything in float64."""

    def __init__(self, tensors, prefix=""):
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, name):
        return self.tensors[self.prefix + name].double()

    def at(self, name):
        return Formulas(self.tensors, f"{self.prefix}{name}.")

    def linear(self, name, x):
        return x @ self[f"{name}.weight"].flatten(1).T + self[f"{name}.bias"]

    def norm(self, name, x, epsilon):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
        return scaled * self[f"{name}.weight"] + self[f"{name}.bias"]


def quick_gelu(x):
    return x / (1 + torch.exp(-1.702 * x))


def softmax_attention(q, k, v):
    """q [..., Q, c], k and v [..., K, c]."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    weights = torch.exp(scores - scores.amax(-1, keepdim=True))
    return weights / weights.sum(-1, keepdim=True) @ v


def tower_layer(weights, x, heads):
    """x [T, N, d]."""
    frames, tokens, width = x.shape
    if frames > 1:  # x = x + temporal(x); temporal hands the class token on as it is
        block = weights.at("temporal")
        h = block.linear("down_proj", block.norm("ln", x[:, 1:], 1e-5))
        taps, mixed = block["conv.weight"].reshape(-1, 3), torch.zeros_like(h)
        for frame in range(frames):
            for tap in range(3):
                if 0 <= frame + tap - 1 < frames:
                    mixed[frame] += h[frame + tap - 1] * taps[:, tap]
        h = block.linear("up_proj", quick_gelu(mixed + block["conv.bias"]))
        x = x + torch.cat([x[:, :1], h], 1)
    n = weights.norm("input_layernorm", x, 1e-6)
    qkv = weights.linear("self_attn.query_key_value", n).reshape(frames, tokens, heads, 3, -1)
    q, k, v = (qkv[..., i, :].transpose(1, 2) for i in range(3))
    mixed = softmax_attention(q, k, v).transpose(1, 2).reshape(frames, tokens, width)
    x = x + weights.linear("self_attn.dense", mixed)
    n = weights.norm("post_attention_layernorm", x, 1e-6)
    return x + weights.linear("mlp.fc2", quick_gelu(weights.linear("mlp.fc1", n)))


def tower_formula(tensors, pixels, config):
    """pixels [T, 3, S, S] -> features [T, N, d]."""
    weights, size = Formulas(tensors), config.patch_size
    side = config.image_size // size
    patches = pixels.double().reshape(len(pixels), 3, side, size, side, size).permute(0, 2, 4, 1, 3, 5)
    x = patches.reshape(len(pixels), side * side, -1) @ weights["embeddings.patch_embed.weight"].flatten(1).T
    first = weights["embeddings.cls_token"].expand(len(x), 1, -1)
    x = torch.cat([first, x], 1) + weights["embeddings.position_embedding"]
    x = weights.norm("embeddings.pre_layernorm", x, 1e-6)
    for i in range(config.num_layers):
        x = tower_layer(weights.at(f"encoder.layers.{i}"), x, config.num_heads)
    return weights.norm("post_layernorm", x, 1e-6)


def abstractor_formula(tensors, features, config):
    """features [T, N, d] -> video tokens [Q + 1, D]."""
    weights, memory = Formulas(tensors), features.double().flatten(0, 1)
    x, several = weights["query_tokens"][0], len(features) > 1
    if several:
        x = torch.cat([x, weights["temporal_query_tokens"][0]])

    def heads(y):
        return y.reshape(len(y), config.num_heads, -1).transpose(0, 1)

    for i in range(config.num_layers):
        layer = weights.at(f"encoder.layers.{i}.crossattention")
        q = layer.norm("norm1", x, 1e-5)
        keys = torch.cat([q, layer.norm("normk", memory, 1e-5)])
        projected = [heads(layer.linear(f"attention.{name}", y)) for name, y in
                     (("query", q), ("key", keys), ("value", keys))]  # fmt: skip
        mixed = softmax_attention(*projected).transpose(0, 1).reshape(len(q), -1)
        y = q + layer.linear("output.out_proj", mixed)
        n = layer.norm("output.norm2", y, 1e-5)
        gate = layer.linear("output.mlp.w1", n)
        inner = gate / (1 + torch.exp(-gate)) * layer.linear("output.mlp.w3", n)
        x = y + layer.linear("output.mlp.w2", layer.norm("output.mlp.ffn_ln", inner, 1e-6))
    out = weights.linear("visual_fc", x[: config.num_queries])
    if several:
        out = out + weights.linear("temporal_visual_fc", x[config.num_queries :])
    return torch.cat([out, weights["vit_eos"][0]])


def random_weights(module, seed):
    """The module with noise on every parameter, so that no path is hidden by a zero or a one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return module.eval()


def session(folder, stem):
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(custom_ops_library())
    return onnxruntime.InferenceSession(folder / f"{stem}.onnx", options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def check_tower(config, folder, clips, seed):
    tower = random_weights(MplugOwlVideoTower(config), seed)
    export_encoder(tower, folder)
    tensors, graph = tower.state_dict(), session(folder, "encoder")
    for frames in clips:
        generator = torch.Generator().manual_seed(seed + frames)
        pixels = torch.randn(frames, 3, config.image_size, config.image_size, generator=generator)
        (found,) = graph.run(None, {"pixel_values": pixels.numpy()})
        assert relative_error(found, tower_formula(tensors, pixels, config)) < 1e-5, frames


@torch.no_grad()
def check_abstractor(config, folder, tokens, clips, seed):
    abstractor = random_weights(VideoAbstractor(config), seed)
    export_abstractor(abstractor, folder)
    tensors, graph = abstractor.state_dict(), session(folder, "abstractor")
    memory_graph = session(folder, "abstractor_memory")
    for frames in clips:
        generator = torch.Generator().manual_seed(seed + frames)
        features = torch.randn(frames, tokens, config.memory_size, generator=generator)
        (memory,) = memory_graph.run(None, {"features": features.numpy()})
        (found,) = graph.run(None, {"memory": memory})
        assert relative_error(found, abstractor_formula(tensors, features, config)) < 1e-5, frames


def test_the_tower_is_what_its_formulas_say(tmp_path):
    check_tower(TOWER, tmp_path, (1, 2, 5), 0)


def test_the_abstractor_is_what_its_formulas_say(tmp_path):
    check_abstractor(ABSTRACTOR, tmp_path, 10, (1, 2, 5), 0)


@pytest.mark.slow
def test_the_tower_at_full_size(tmp_path):
    check_tower(VideoTowerConfig(), tmp_path, (1, 4), 1)


@pytest.mark.slow
def test_the_abstractor_at_full_size(tmp_path):
    check_abstractor(AbstractorConfig(), tmp_path, 257, (1, 4, 8), 1)
