"""A small Wan 2.1 text-to-video folder with random weights, as diffusers writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel

from .t5_models import make_encoder, write_tokenizer

TRANSFORMER: dict[str, Any] = {
    "patch_size": [1, 2, 2],
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 40,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}
VAE: dict[str, Any] = {
    "base_dim": 8,
    "z_dim": 4,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "latents_mean": [0.2, -0.1, 0.0, 0.4],
    "latents_std": [1.5, 0.8, 1.0, 2.0],
}
# As scheduler_config.json of Wan2.1-T2V-1.3B-Diffusers, whose keys UniPCMultistepScheduler writes.
SCHEDULER = {
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
    "flow_shift": 3.0,
    "solver_order": 2,
    "solver_type": "bh2",
    "num_train_timesteps": 1000,
}

# As model_index.json of the same.
INDEX: dict[str, Any] = {
    "_class_name": "WanPipeline",
    "_diffusers_version": "0.42.1",
    "boundary_ratio": None,
    "expand_timesteps": False,
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "transformer_2": [None, None],
    "vae": ["diffusers", "AutoencoderKLWan"],
}


def shaken(module: Any, seed: int = 0) -> Any:
    """The module with noise on every parameter: a zero or one would hide a path that is wrong."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return module.eval()


def transformer(**changes: Any) -> Any:
    torch.manual_seed(1)
    return shaken(WanTransformer3DModel(**{**TRANSFORMER, **changes}))


def vae(**changes: Any) -> Any:
    torch.manual_seed(2)
    return shaken(AutoencoderKLWan(**{**VAE, **changes}))


def write_wan(folder: Path, layout: str = "tokenizer.json") -> Path:
    """Writes the folder, with a UMT5 as text encoder. layout: of its tokenizer (`write_tokenizer`)."""
    transformer().save_pretrained(folder / "transformer", max_shard_size="20KB")
    vae().save_pretrained(folder / "vae")
    UniPCMultistepScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    tokenizer = write_tokenizer(folder / "tokenizer", layout, 512)
    encoder = make_encoder("umt5", vocab_size=len(tokenizer), d_model=TRANSFORMER["text_dim"])
    encoder.save_pretrained(folder / "text_encoder")
    (folder / "model_index.json").write_text(json.dumps(INDEX), "utf-8")
    return folder


def change_json(path: Path, **changes: Any) -> None:
    """Sets keys of a JSON file; `...` takes a key out."""
    values = json.loads(path.read_text("utf-8"))
    for key, value in changes.items():
        if value is ...:
            values.pop(key, None)
        else:
            values[key] = value
    path.write_text(json.dumps(values), "utf-8")
