"""A small but complete random training run, and the bundle that it exports to."""

from dataclasses import replace

import pytest
import torch

from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
from g4v.model.config import AbstractorConfig
from g4v.model.presets import TINY

SMALL = replace(
    TINY,
    name="small",
    encoder={
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
    },
    abstractor=AbstractorConfig(
        hidden_size=32,
        num_layers=3,
        num_heads=2,
        intermediate_size=80,
        num_queries=5,
        num_temporal_queries=5,
        memory_size=32,
        output_size=48,
    ),
    llama={
        **TINY.llama,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 64,
        "max_position_embeddings": 192,
    },
    lora={**TINY.lora, "r": 4, "lora_alpha": 6},
    text_encoder={
        **TINY.text_encoder,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
    },
    vae={
        **TINY.vae,
        "block_out_channels": [8, 8, 16],
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 32,
    },
    unet={
        **TINY.unet,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [16, 32],
        "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
        "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
        "layers_per_block": 1,
        "attention_head_dim": 8,
        "cross_attention_dim": 32,
        "norm_num_groups": 8,
    },
)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small():
    """A preset with every class of `tiny` at smaller sizes, none of them equal to another by chance."""
    return SMALL


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return write_random_checkpoint(tmp_path_factory.mktemp("checkpoint") / "run", SMALL, vocab_size=280)


@pytest.fixture(scope="session")
def bundle(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "small"
    export_bundle(run, out)
    return out
