"""Writes a published text-to-video model at its real size with random weights, as diffusers lays it out.

    python benchmarks/random_video_model.py OUT [--model wan-2.1-1.3b]

Networks, sizes and scheduler are those of Wan-AI/Wan2.1-T2V-1.3B-Diffusers (a transformer of 1.42 billion
weights, a UMT5-XXL of 5.68 billion); the weights are drawn so that activations keep their size, in bfloat16
(14 GB). The tokenizer is a small one. No more than one tensor is in memory at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

SHARD = 2e9  # bytes
MODELS = ("wan-2.1-1.3b",)
TRANSFORMER: dict[str, Any] = {
    "patch_size": [1, 2, 2],
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024,
}
T5_XXL: dict[str, Any] = {
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}


def draw(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Weights that keep the size of what they multiply; those of norms near 1, of biases near 0."""
    values = torch.randn(shape, generator=generator)
    if len(shape) == 1 or "table" in name or "gamma" in name:
        return 0.02 * values + ("norm" in name and not name.endswith("bias"))
    if name.endswith("SelfAttention.q.weight"):
        return values * (T5_XXL["d_model"] * T5_XXL["d_kv"]) ** -0.5  # scores have no 1/sqrt(d_kv)
    if "embed" in name or "shared" in name or "relative_attention_bias" in name:
        return values
    return values * shape[1:].numel() ** -0.5


def write_weights(folder: Path, stem: str, tensors: Mapping[str, torch.Size]) -> None:
    """Shards of `SHARD` bytes, and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, shards, names = torch.Generator().manual_seed(0), list(_shards(tensors)), {}
    for number, part in enumerate(shards, 1):
        file = f"{stem}-{number:05}-of-{len(shards):05}.safetensors"
        drawn = {name: draw(name, tensors[name], generator).bfloat16() for name in part}
        save_file(drawn, folder / file, {"format": "pt"})
        names |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": names}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def _shards(tensors: Mapping[str, torch.Size]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for name, shape in tensors.items():
        if part and size + 2 * shape.numel() > SHARD:
            yield part
            part, size = [], 0
        part.append(name)
        size += 2 * shape.numel()
    yield part


def shapes_of(make: Any) -> tuple[Any, dict[str, torch.Size]]:
    """The module that `make` builds, without memory, and the shapes of its weights."""
    with torch.device("meta"):
        module = make()
    return module, {name: tensor.shape for name, tensor in module.named_parameters()}


def write_text_encoder(folder: Path, kind: str, vocabulary: int) -> None:
    from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

    classes: Any = {"t5": (T5Config, T5EncoderModel), "umt5": (UMT5Config, UMT5EncoderModel)}[kind]
    config = classes[0](vocab_size=vocabulary, **T5_XXL)
    _, shapes = shapes_of(lambda: classes[1](config))
    write_weights(folder, "model", shapes)
    config.architectures = [classes[1].__name__]
    config.save_pretrained(folder)


def write_network(folder: Path, make: Any) -> None:
    module, shapes = shapes_of(make)
    write_weights(folder, "diffusion_pytorch_model", shapes)
    module.save_config(folder)


def write_wan(folder: Path) -> None:
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
    from tests import t5_models, wan_folder

    write_network(folder / "transformer", lambda: WanTransformer3DModel(**TRANSFORMER))
    write_network(folder / "vae", AutoencoderKLWan)  # whose defaults are those of Wan 2.1
    UniPCMultistepScheduler(**wan_folder.SCHEDULER).save_pretrained(folder / "scheduler")
    write_text_encoder(folder / "text_encoder", "umt5", 256384)
    t5_models.write_tokenizer(folder / "tokenizer", "tokenizer.json", 512)
    (folder / "model_index.json").write_text(json.dumps(wan_folder.INDEX), "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--model", choices=MODELS, default=MODELS[0])
    options = parser.parse_args()
    write_wan(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
