"""Published text-to-video models at their real sizes: networks without memory, and files without numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from . import ltx_folder, t5_models, wan_folder

NAMES = ("wan-2.1-1.3b", "ltx-video-2b")
"""Wan-AI/Wan2.1-T2V-1.3B-Diffusers: a transformer of 1.42 billion weights, a UMT5-XXL of 5.68 billion.
Lightricks/LTX-Video 0.9: a transformer of 1.92 billion weights, a T5-XXL of 4.76 billion.
"""

PARTS = ("text_encoder", "transformer", "vae_decoder")
SHARD = 2e9  # bytes of a weight file
WAN_TRANSFORMER: dict[str, Any] = {
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

Shapes = Mapping[str, torch.Size]
Writer = Callable[[Path, Shapes], None]
"""Writes a safetensors file of bfloat16 tensors of these shapes."""


def write(folder: Path, name: str, writer: Writer) -> Path:
    """Writes a model of `NAMES` as diffusers lays it out, with a small tokenizer; `writer` its weights."""
    if name == "wan-2.1-1.3b":
        _write_wan(folder, writer)
    else:
        _write_ltx(folder, writer)
    return folder


def _write_wan(folder: Path, writer: Writer) -> None:
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel

    _network(folder / "transformer", lambda: WanTransformer3DModel(**WAN_TRANSFORMER), writer)
    _network(folder / "vae", AutoencoderKLWan, writer)  # whose defaults are those of Wan 2.1
    UniPCMultistepScheduler(**wan_folder.SCHEDULER).save_pretrained(folder / "scheduler")
    _text_encoder(folder / "text_encoder", "umt5", 256384, writer)
    t5_models.write_tokenizer(folder / "tokenizer", "tokenizer.json", 512)
    (folder / "model_index.json").write_text(json.dumps(wan_folder.INDEX), "utf-8")


def _write_ltx(folder: Path, writer: Writer) -> None:
    from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel

    # The defaults of both networks are those of version 0.9.
    _network(folder / "transformer", LTXVideoTransformer3DModel, writer)
    _network(folder / "vae", AutoencoderKLLTXVideo, writer)
    FlowMatchEulerDiscreteScheduler(**ltx_folder.SCHEDULER).save_pretrained(folder / "scheduler")
    _text_encoder(folder / "text_encoder", "t5", 32128, writer)
    t5_models.write_tokenizer(folder / "tokenizer", "spiece.model", 128)
    (folder / "model_index.json").write_text(json.dumps(ltx_folder.INDEX), "utf-8")


def write_empty(file: Path, shapes: Shapes) -> None:
    """A file with a header and a hole for its numbers, which takes no room."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape.numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        opened.truncate(8 + len(text) + end)


def _text_encoder(folder: Path, kind: str, vocabulary: int, writer: Writer) -> None:
    from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

    classes: Any = {"t5": (T5Config, T5EncoderModel), "umt5": (UMT5Config, UMT5EncoderModel)}[kind]
    config = classes[0](vocab_size=vocabulary, architectures=[classes[1].__name__], **T5_XXL)
    _write_weights(folder, "model", lambda: classes[1](config), writer)
    config.save_pretrained(folder)


def _network(folder: Path, make: Callable[[], Any], writer: Writer) -> None:
    _write_weights(folder, "diffusion_pytorch_model", make, writer).save_config(folder)


def _write_weights(folder: Path, stem: str, make: Callable[[], Any], writer: Writer) -> Any:
    """Shards of at most `SHARD` bytes, and their index; returns the module, without memory."""
    with torch.device("meta"):
        module = make()
    folder.mkdir(parents=True, exist_ok=True)
    stored = {
        id(tensor): (name, tensor) for name, tensor in reversed(module.state_dict(keep_vars=True).items())
    }
    shapes = {name: tensor.shape for name, tensor in reversed(stored.values())}  # tied ones once
    shards, names = list(_shards(shapes)), {}
    for number, part in enumerate(shards, 1):
        file = f"{stem}-{number:05}-of-{len(shards):05}.safetensors"
        writer(folder / file, {name: shapes[name] for name in part})
        names |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": names}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    return module


def _shards(shapes: Shapes) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for name, shape in shapes.items():
        if part and size + 2 * shape.numel() > SHARD:
            yield part
            part, size = [], 0
        part.append(name)
        size += 2 * shape.numel()
    yield part
