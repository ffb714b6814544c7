"""The abstractor against the formulas of its description, written out in float64."""

import json

import pytest
import torch

from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig
from g4v.model.presets import PRESETS

CONFIG = AbstractorConfig(
    hidden_size=24,
    num_layers=2,
    num_heads=3,
    intermediate_size=40,
    num_queries=5,
    num_temporal_queries=5,
    memory_size=24,
    output_size=36,
)


@pytest.fixture
def abstractor():
    torch.manual_seed(0)
    model = VideoAbstractor(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.double().eval()


def reference(model, features):
    """One clip [T, N, d], by hand: explicit softmax, one head after the other, no fused functions."""
    w = dict(model.named_parameters())

    def norm(x, name, eps):
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].t() + w[f"{name}.bias"]

    several = len(features) > 1
    memory = features.reshape(-1, features.shape[-1])
    x = w["query_tokens"][0]
    if several:
        x = torch.cat([x, w["temporal_query_tokens"][0]])
    for i in range(CONFIG.num_layers):
        p = f"encoder.layers.{i}.crossattention"
        q = norm(x, f"{p}.norm1", 1e-5)
        keys = torch.cat([q, norm(memory, f"{p}.normk", 1e-5)])
        query, key, value = (
            linear(q, f"{p}.attention.query"),
            linear(keys, f"{p}.attention.key"),
            linear(keys, f"{p}.attention.value"),
        )
        heads = []
        for h in range(CONFIG.num_heads):
            part = slice(8 * h, 8 * h + 8)
            scores = query[:, part] @ key[:, part].t() / 8**0.5
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            heads.append(weights @ value[:, part])
        y = q + linear(torch.cat(heads, -1), f"{p}.output.out_proj")
        n = norm(y, f"{p}.output.norm2", 1e-5)
        gate = linear(n, f"{p}.output.mlp.w1")
        hidden = gate / (1 + (-gate).exp()) * linear(n, f"{p}.output.mlp.w3")
        x = y + linear(norm(hidden, f"{p}.output.mlp.ffn_ln", 1e-6), f"{p}.output.mlp.w2")
    out = linear(x[:5], "visual_fc")
    if several:
        out = out + linear(x[5:], "temporal_visual_fc")
    return torch.cat([out, w["vit_eos"][0]])


@pytest.mark.parametrize("frames", [1, 2, 7])
@torch.no_grad()
def test_equals_the_formulas(abstractor, frames):
    features = torch.randn(frames, 10, 24, dtype=torch.float64) * 2 + 0.3
    output = abstractor(features[None])
    assert output.shape == (1, 6, 36)
    assert torch.allclose(output[0], reference(abstractor, features), rtol=0, atol=1e-12)


@torch.no_grad()
def test_padding_frames_change_nothing(abstractor):
    features = torch.randn(3, 4, 10, 24, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    output = abstractor(features, mask)
    for clip, real, row in zip(features, (4, 2, 1), output, strict=True):
        assert torch.allclose(row, abstractor(clip[None, :real])[0], rtol=0, atol=1e-12)


@torch.no_grad()
def test_last_row_is_the_end_token_and_temporal_queries_matter(abstractor):
    features = torch.randn(1, 3, 10, 24, dtype=torch.float64)
    output = abstractor(features)
    assert torch.equal(output[0, -1], abstractor.vit_eos[0, 0])
    single = abstractor(features[:, :1])
    abstractor.temporal_query_tokens.normal_()
    assert not torch.allclose(abstractor(features)[0, :-1], output[0, :-1])
    assert torch.equal(abstractor(features[:, :1]), single)


def test_parameter_names_are_those_of_the_public_checkpoint():
    names = set(VideoAbstractor(CONFIG).state_dict())
    p = "encoder.layers.0.crossattention"
    modules = [f"{p}.{m}" for m in ("norm1", "normk", "output.out_proj", "output.norm2", "output.mlp.ffn_ln")]
    modules += [f"{p}.attention.{m}" for m in ("query", "key", "value")]
    modules += [f"{p}.output.mlp.{m}" for m in ("w1", "w2", "w3")]
    wanted = {f"{m}.{kind}" for m in modules for kind in ("weight", "bias")}
    wanted |= {name.replace("layers.0", "layers.1") for name in wanted}
    wanted |= {f"{m}.{kind}" for m in ("visual_fc", "temporal_visual_fc") for kind in ("weight", "bias")}
    assert names == wanted | {"query_tokens", "temporal_query_tokens", "vit_eos"}


@torch.no_grad()
def test_saving_and_reading_again(abstractor, tmp_path):
    abstractor.float().save_pretrained(tmp_path, torch.float16)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    again = VideoAbstractor.from_pretrained(tmp_path)
    assert again.config == CONFIG and not again.training
    for name, tensor in abstractor.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.half().float())


def test_a_foreign_configuration_is_refused(abstractor, tmp_path):
    abstractor.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "speed": 3}))
    with pytest.raises(ValueError, match="config.json: unknown key 'speed'"):
        VideoAbstractor.from_pretrained(tmp_path)
    path.write_text(json.dumps({**values, "memory_size": 20}))
    with pytest.raises(ValueError, match="memory_size 20 must equal hidden_size 24"):
        VideoAbstractor.from_pretrained(tmp_path)
    for key, value, wanted in (
        ("num_layers", 2**31, "an integer from 1 to 1000"),
        ("hidden_size", 2**31, "an integer from 1 to 16777216"),
        ("num_heads", 0, "an integer from 1 to 16777216"),
        ("num_queries", "64", "an integer from 1 to 16777216"),
        ("layer_norm_eps", float("nan"), "a number above 0"),
        ("layer_norm_eps", 10**400, "a number above 0"),
    ):
        path.write_text(json.dumps({**values, key: value}))
        with pytest.raises(ValueError, match=f"config.json: {key} is .* but must be {wanted}"):
            VideoAbstractor.from_pretrained(tmp_path)
    path.write_text("[" * 5000)
    with pytest.raises(ValueError, match="config.json: cannot be read"):
        VideoAbstractor.from_pretrained(tmp_path)
    path.write_text(json.dumps({**values, "num_layers": 3}))
    with pytest.raises(RuntimeError, match="layers.2"):
        VideoAbstractor.from_pretrained(tmp_path)


def test_preset_sizes_of_the_full_system():
    config = PRESETS["gpt4video-7b"].abstractor
    assert (config.hidden_size, config.num_layers, config.intermediate_size) == (1024, 6, 2816)
    assert config.output_tokens == 65 and config.output_size == 4096
