"""Graphs of standard operators: the same numbers as PyTorch, in float32 and in float16."""

import onnx
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig

from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components.abstractor import export_abstractor
from g4v.export.components.encoder import export_encoder
from g4v.export.components.text_encoder import export_text_encoder
from g4v.export.components.unet import export_unet
from g4v.export.components.vae import export_vae_decoder
from g4v.export.errors import ExportError
from g4v.export.graph.dtype import FLOAT16, FLOAT32
from g4v.export.graph.standard import StandardLowering
from g4v.export.verify import comparison as verify
from g4v.model.config import VideoTowerConfig
from g4v.model.vision import build_encoder

COMPONENTS = {
    "encoder": (Checkpoint.encoder, export_encoder, lambda m, f: verify.verify_encoder(m, f, 4)),
    "abstractor": (
        Checkpoint.abstractor,
        export_abstractor,
        lambda m, f: verify.verify_abstractor(m, f, 4, 17),
    ),
    "text_encoder": (Checkpoint.text_encoder, export_text_encoder, verify.verify_text_encoder),
    "unet": (Checkpoint.unet, export_unet, lambda m, f: verify.verify_unet(m, f, 16, 8)),
    "vae_decoder": (Checkpoint.vae, export_vae_decoder, lambda m, f: verify.verify_vae_decoder(m, f, 8)),
}


def operators(folder, stem):
    return onnx.load(folder / f"{stem}.onnx", load_external_data=False).graph.node


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize(("dtype", "most"), [(FLOAT32, 1e-5), (FLOAT16, 1e-2)], ids=["fp32", "fp16"])
def test_components_are_right_in_standard_operators(run, tmp_path, name, dtype, most):
    load, export, compare = COMPONENTS[name]
    module = load(Checkpoint.open(run))
    files = export(module, tmp_path, lowering=StandardLowering(dtype))
    assert {node.domain for node in operators(tmp_path, name)} == {""}
    onnx.checker.check_model(str(tmp_path / f"{name}.onnx"))
    error = compare(module, tmp_path)
    assert error < most
    if dtype is FLOAT16:
        assert error > 1e-5  # it really was float16
        export(module, tmp_path, "whole", lowering=StandardLowering())
        ratio = (tmp_path / files[1]).stat().st_size / (tmp_path / "whole.data").stat().st_size
        assert ratio < 0.75  # norms stay float32


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16], ids=["fp32", "fp16"])
def test_clip_towers_and_other_activations(tmp_path, dtype):
    """What `tiny` does not use."""
    most, lowering = 1e-5 if dtype is FLOAT32 else 1e-2, StandardLowering(dtype)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    torch.manual_seed(0)
    vision = build_encoder(CLIPVisionConfig(**sizes, image_size=24, patch_size=8, hidden_act="gelu")).eval()
    export_encoder(vision, tmp_path, lowering=lowering)
    assert verify.verify_encoder(vision, tmp_path, 3) < most
    text = CLIPTextModel(
        CLIPTextConfig(**sizes, vocab_size=50, max_position_embeddings=12, hidden_act="gelu")
    )
    export_text_encoder(text.eval(), tmp_path, lowering=lowering)
    assert verify.verify_text_encoder(text, tmp_path) < most


def test_a_deep_tower_stays_finite_in_float16(tmp_path):
    """Each of its layers doubles the class token of a clip."""
    torch.manual_seed(0)
    config = VideoTowerConfig(
        hidden_size=32, num_layers=24, num_heads=2, intermediate_size=48, image_size=16, patch_size=8
    )
    tower = build_encoder(config).eval()
    largest = []
    tower.post_layernorm.register_forward_pre_hook(lambda _, given: largest.append(given[0].abs().max()))
    with torch.no_grad():
        tower(torch.randn(2, 3, 16, 16))
    assert largest[0] > 65504
    export_encoder(tower, tmp_path, lowering=StandardLowering(FLOAT16))
    assert verify.verify_encoder(tower, tmp_path, 4) < 1e-2


def test_a_weight_beyond_float16_is_written_in_float32(run, tmp_path):
    """Its product then stays in float32 (test_keep_in_float32.py)."""
    vae = Checkpoint.open(run).vae().float()
    with torch.no_grad():
        vae.decoder.conv_in.weight[0, 0, 0, 0] = 1e5
    export_vae_decoder(vae, tmp_path, lowering=StandardLowering(FLOAT16))
    weights = onnx.load(tmp_path / "vae_decoder.onnx", load_external_data=False).graph.initializer
    assert [
        t.name for t in weights if t.data_type == 1 and list(t.dims) == list(vae.decoder.conv_in.weight.shape)
    ]


def test_where_a_graph_is_not_rewritten_such_a_weight_is_refused(tmp_path):
    """That of the language model."""
    with StandardLowering(FLOAT16).open(tmp_path, "decoder", refuses_overflow=True) as ops:
        with pytest.raises(ExportError, match="decoder: a weight of 1e\\+05 is beyond float16"):
            ops.g.weight(torch.tensor([1.0, 1e5]))
