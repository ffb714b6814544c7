"""Both encoder flavours against plain reference code."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from g4v.model.config import VideoTowerConfig
from g4v.model.vision import MplugOwlVideoTower, build_encoder, load_encoder

CONFIG = VideoTowerConfig(
    hidden_size=24, num_layers=2, num_heads=3, intermediate_size=40, image_size=24, patch_size=8
)


@pytest.fixture
def tower():
    torch.manual_seed(0)
    model = MplugOwlVideoTower(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.double().eval()


def reference(model, frames):
    """One clip [T, 3, S, S] with real Conv3d layers, a frame at a time elsewhere."""
    w = model.state_dict()

    def norm(x, name, eps):
        return F.layer_norm(x, (24,), w[f"{name}.weight"], w[f"{name}.bias"], eps)

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def gelu(x):
        return x * torch.sigmoid(1.702 * x)

    e = "embeddings"
    patches = F.conv2d(frames, w[f"{e}.patch_embed.weight"], stride=8).flatten(2).transpose(1, 2)
    x = torch.cat([w[f"{e}.cls_token"].expand(len(frames), 1, 24), patches], 1) + w[f"{e}.position_embedding"]
    x = norm(x, f"{e}.pre_layernorm", 1e-6)
    for i in range(2):
        p = f"encoder.layers.{i}"
        if len(frames) > 1:
            t = model.encoder.layers[i].temporal
            cube = norm(x[:, 1:], f"{p}.temporal.ln", 1e-5).reshape(1, -1, 3, 3, 24).permute(0, 4, 1, 2, 3)
            cube = t.up_proj(gelu(t.conv(t.down_proj(cube))))  # [1, d, T, 3, 3]
            temporal = cube[0].permute(1, 2, 3, 0).reshape(-1, 9, 24)
            x = x + torch.cat([x[:, :1], temporal], 1)
        qkv = linear(norm(x, f"{p}.input_layernorm", 1e-6), f"{p}.self_attn.query_key_value")
        heads = []
        for h in range(3):  # the fused projection is [heads, 3, head_dim]
            q, k, v = (qkv[..., 24 * h + 8 * j : 24 * h + 8 * j + 8] for j in range(3))
            heads.append((q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v)
        x = x + linear(torch.cat(heads, -1), f"{p}.self_attn.dense")
        n = norm(x, f"{p}.post_attention_layernorm", 1e-6)
        x = x + linear(gelu(linear(n, f"{p}.mlp.fc1")), f"{p}.mlp.fc2")
    return norm(x, "post_layernorm", 1e-6)


@pytest.mark.parametrize("frames", [1, 2, 5])
@torch.no_grad()
def test_tower_equals_the_reference(tower, frames):
    pixels = torch.randn(frames, 3, 24, 24, dtype=torch.float64)
    features = tower(pixels)
    assert features.shape == (frames, 10, 24)
    assert torch.allclose(features, reference(tower, pixels), rtol=0, atol=1e-12)


@torch.no_grad()
def test_clips_of_a_batch_do_not_mix_and_order_matters(tower):
    pixels = torch.randn(2, 4, 3, 24, 24, dtype=torch.float64)
    features = tower(pixels)
    assert features.shape == (2, 4, 10, 24)
    assert torch.allclose(features[1], tower(pixels[1]), rtol=0, atol=1e-12)
    backwards = tower(pixels[1].flip(0)).flip(0)
    assert not torch.allclose(features[1], backwards, atol=1e-3)


def test_public_names_load_without_temporal_weights_with_a_warning(tower):
    public = {f"vision_model.{n}": t for n, t in tower.state_dict().items()}
    public["language_model.lm_head.weight"] = torch.zeros(3)
    again = MplugOwlVideoTower(CONFIG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.load_public(public)
    assert torch.equal(again.post_layernorm.weight.double(), tower.post_layernorm.weight.float().double())

    images = {n: t for n, t in public.items() if ".temporal." not in n}
    with pytest.warns(UserWarning, match="no temporal weights"):
        again.load_public(images)
    with torch.no_grad():
        pixels = torch.randn(3, 3, 24, 24)
        patches = again(pixels)
        alone = torch.cat([again(frame[None]) for frame in pixels])
        # The class token is still doubled by the residual, so only the embedding of patches can be compared.
        layer = again.encoder.layers[0]
        x = torch.randn(1, 3, 10, 24)
        assert torch.equal((x + layer.temporal(x))[:, :, 1:], x[:, :, 1:])
        assert torch.equal((x + layer.temporal(x))[:, :, :1], 2 * x[:, :, :1])
    assert patches.shape == alone.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("vision_model.post_layernorm.bias"),
            "missing tensor vision_model.post_layernorm.bias",
        ),
        (lambda t: t.update({"vision_model.x": torch.zeros(1)}), "unexpected tensor vision_model.x"),
        (lambda t: t.update({"vision_model.post_layernorm.bias": torch.zeros(5)}), "size mismatch"),
        (lambda t: t.pop("vision_model.encoder.layers.1.temporal.ln.bias"), "temporal.ln.bias"),
    ],
)
def test_other_gaps_are_errors(tower, change, message):
    tensors = {f"vision_model.{n}": t for n, t in tower.state_dict().items()}
    change(tensors)
    with pytest.raises(ValueError, match=message):
        MplugOwlVideoTower(CONFIG).load_public(tensors)


@torch.no_grad()
def test_tower_is_saved_and_read_again(tower, tmp_path):
    tower.float().save_pretrained(tmp_path)
    again = load_encoder(tmp_path)
    assert again.flavour == "mplug-owl-video" and again.tokens_per_frame == 10
    pixels = torch.randn(2, 3, 24, 24)
    assert torch.equal(again(pixels), tower(pixels))


@torch.no_grad()
def test_clip_returns_all_tokens_after_post_layernorm(tmp_path):
    config = CLIPVisionConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        image_size=24,
        patch_size=8,
    )
    encoder = build_encoder(config).eval()
    pixels = torch.randn(2, 3, 3, 24, 24)
    features = encoder(pixels)
    assert features.shape == (2, 3, 10, 24)
    model: CLIPVisionModel = encoder.model
    output = model(pixels[1])
    assert torch.allclose(features[1, :, 0], output.pooler_output, atol=1e-6)
    assert torch.allclose(features[1], model.post_layernorm(output.last_hidden_state), atol=1e-6)
    encoder.save_pretrained(tmp_path)
    again = load_encoder(tmp_path)
    assert again.flavour == "clip" and torch.equal(again(pixels), features)
