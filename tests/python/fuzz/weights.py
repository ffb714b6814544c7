"""Fuzzers of weight files: safetensors headers, and LoRA adapters with their configuration.

An input of `Safetensors` is the file itself. One of `Lora` is JSON, {"config": ..., "header": ...}: the data
are laid out by the header's types and shapes, so that these decide and not the offsets.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from .mutation import Mutator

_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I8": 1,
    "BOOL": 1,
}
_MOST = 1 << 20  # bytes of data


def safetensors_file(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def laid_out(header: Any) -> tuple[Any, int]:
    """The header with each tensor behind the one before it, and the bytes of all."""
    end = 0
    for entry in header.values() if isinstance(header, dict) else ():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or not all(
            type(size) is int and 0 <= size < 1 << 24 for size in shape
        ):
            continue
        kind = entry.get("dtype")
        size = math.prod(shape) * (_BYTES.get(kind, 1) if isinstance(kind, str) else 1)
        if "data_offsets" in entry and size <= _MOST - end:
            entry["data_offsets"] = [end, end + size]
            end += size
    return header, end


def entry(dtype: str, *shape: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [0, 0]}


class Safetensors:
    """Reads every tensor of a file, whole and by rows (g4v.model.bases.weight_files)."""

    def __init__(self, work: Path) -> None:
        self._folder = work / "safetensors"
        self._folder.mkdir(exist_ok=True)
        header = {
            "__metadata__": {"format": "pt"},
            "a.weight": entry("F32", 3, 4),
            "b.weight": entry("BF16", 5),
            "c": entry("I64"),
            "d": entry("F16", 0, 4),
        }
        self._header, self._size = laid_out(header)

    def sound(self) -> bytes:
        return safetensors_file(self._header, bytes(self._size))

    def make(self, mutator: Mutator) -> bytes:
        kind = mutator.random.randrange(4)
        if kind == 0:
            return mutator.bytes(self.sound())
        header, size = mutator.json(self._header), self._size
        if kind == 1:
            header, size = laid_out(header)
        data = mutator.random.randbytes(size)
        return safetensors_file(header, data)

    def run(self, data: bytes) -> None:
        from g4v.model.bases.weight_files import open_weights

        (self._folder / "model.safetensors").write_bytes(data)
        files = open_weights(self._folder)
        for name, shape in files.shapes.items():
            tensor = files.read(name)
            assert tuple(tensor.shape) == shape and tensor.dtype == files.dtypes[name], name
            if shape:
                assert files.read(name, rows=slice(0, 1)).shape[1:] == tensor.shape[1:], name


class Lora:
    """Checks an adapter against a small Llama and merges it (g4v.export.checkpoint)."""

    def __init__(self, work: Path) -> None:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        self._folder = work / "adapter"
        self._folder.mkdir(exist_ok=True)
        config = LlamaConfig(
            vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2
        )
        with torch.device("meta"):
            self._model = LlamaForCausalLM(config)
        header = {}
        for layer in (0, 1):
            for name in ("q_proj", "v_proj"):
                place = f"base_model.model.model.layers.{layer}.self_attn.{name}"
                header[f"{place}.lora_A.weight"] = entry("F32", 2, 8)
                header[f"{place}.lora_B.weight"] = entry("F32", 8, 2)
        settings = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["q_proj", "v_proj"],
            "bias": "none",
            "use_rslora": False,
            "use_dora": False,
            "modules_to_save": None,
            "rank_pattern": {},
            "alpha_pattern": {"layers.0.self_attn.q_proj": 8},
            "exclude_modules": None,
            "layers_to_transform": [0, 1],
            "layers_pattern": None,
            "init_lora_weights": True,
            "lora_dropout": 0.1,
            "peft_version": "0.17",
        }
        self._sound = {"config": settings, "header": header}

    def sound(self) -> bytes:
        return json.dumps(self._sound).encode()

    def make(self, mutator: Mutator) -> bytes:
        part = mutator.random.choice(("config", "config", "header"))
        return json.dumps({**self._sound, part: mutator.json(self._sound[part])}).encode()

    def run(self, data: bytes) -> None:
        import torch

        from g4v.export.checkpoint.adapter import Adapter
        from g4v.export.checkpoint.lora import LoraMerge

        value = json.loads(data)
        header, size = laid_out(value["header"])
        (self._folder / "adapter_config.json").write_text(json.dumps(value["config"]))
        (self._folder / "adapter_model.safetensors").write_bytes(safetensors_file(header, bytes(size)))
        merge = LoraMerge(self._model, [Adapter(self._folder)])
        for name in merge.names:
            shape = self._model.get_submodule(name).weight.shape
            merged = merge.apply(name, torch.ones(shape))
            assert merged.dtype == torch.float32 and torch.isfinite(merged).all(), name
