"""LoRA files of a text-to-video model, merged into its UNet or transformer, and its text encoder.

    W' = W + sum of weight * scale * up @ down        of linear and convolution layers, summed in float64

The layouts that such adapters are published in are read, from safetensors alone:

    diffusers   unet.LAYER.lora_A.weight and .lora_B.weight, or .lora.down and .lora.up, or the older
                .processor.to_q_lora.down; text_encoder.LAYER likewise, or .lora_linear_layer.down. The scale
                is 1, or lora_alpha / r as the file's "lora_adapter_metadata" says. transformer.LAYER of a
                video transformer is as unet.LAYER.
    kohya       lora_unet_LAYER.lora_down.weight, .lora_up.weight and .alpha, with _ for the dots of a layer's
                name; lora_te_LAYER or lora_te1_LAYER of the text encoder. The scale is alpha / rank, or 1.
                Video transformers are lora_unet, too.
    original    diffusion_model.LAYER.lora_A.weight and .lora_B.weight, or .lora_down and .lora_up, and .alpha
                or not, of a video transformer. The scale is as for kohya's.

The layers of Wan may also have the names that Wan's own code gives them.

Every tensor is used, or refused by name: one of another layout, of DoRA or LyCORIS, of a layer that the model
lacks, of another shape, or half of a pair.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from g4v._files import sha256
from g4v.export.checkpoint.adapter_config import by_pattern, check_adapter_config, is_target
from g4v.export.checkpoint.mapped import is_mapped
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.weight_files import WeightFiles

STANDARD_NAME = "pytorch_lora_weights.safetensors"  # of diffusers' save_lora_weights
PARTS = ("unet", "transformer", "text_encoder")
_METADATA = "lora_adapter_metadata"
_KOHYA = re.compile(r"lora_(unet|te1?)_(\w+)\.(lora_down\.weight|lora_up\.weight|alpha)")
_KOHYA_PARTS = {"unet": "unet", "te": "text_encoder", "te1": "text_encoder"}
_DIFFUSERS = re.compile(
    r"(unet|transformer|text_encoder)\.(.+?)"
    r"(?:\.lora_([AB])|\.lora(?:_linear_layer)?\.(down|up)|\.to_(q|k|v|out)_lora\.(down|up))\.weight"
)
_ORIGINAL = re.compile(r"diffusion_model\.(.+)\.(lora_[AB]\.weight|lora_down\.weight|lora_up\.weight|alpha)")
_ROLES = {"A": "down", "B": "up", "lora_down.weight": "down", "lora_up.weight": "up", "alpha": "alpha"}
_ROLES |= {"lora_A.weight": "down", "lora_B.weight": "up"}
# Names of layers in diffusers' Wan -> those in Wan's own code.
_WAN = (
    (re.compile(r"attn1\.to_out\.0"), "self_attn.o"),
    (re.compile(r"attn2\.to_out\.0"), "cross_attn.o"),
    (re.compile(r"attn1\.to_([qkv])"), r"self_attn.\1"),
    (re.compile(r"attn2\.to_([qkv])"), r"cross_attn.\1"),
    (re.compile(r"ffn\.net\.0\.proj"), "ffn.0"),
    (re.compile(r"ffn\.net\.2"), "ffn.2"),
    (re.compile(r"condition_embedder\.time_proj"), "time_projection.1"),
    (re.compile(r"condition_embedder\.(time|text)_embedder\.linear_1"), r"\1_embedding.0"),
    (re.compile(r"condition_embedder\.(time|text)_embedder\.linear_2"), r"\1_embedding.2"),
    (re.compile(r"^proj_out"), "head.head"),
)
# Layers of the older names, in a UNet and in a CLIP text encoder.
_ATTENTION = {
    "unet": {"out": "to_out.0"},
    "transformer": {"out": "to_out.0"},
    "text_encoder": {"out": "out_proj"},
}
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class VideoLora:
    """A LoRA file to merge into the text-to-video model.

    file: safetensors, or a folder that has pytorch_lora_weights.safetensors.
    weight: factor on what the adapter adds.
    """

    file: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> VideoLora:
        """Reads "FILE", "FILE:WEIGHT" or "FILE=WEIGHT" from a command line.

        ExportError: WEIGHT is not a finite number, or there is no such file.
        """
        match = re.fullmatch(r"(.+)[:=](.*)", text, re.DOTALL)
        if match is None or Path(text).exists():
            return cls(_found(Path(text)))
        try:
            number = float(match[2])
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            if not Path(match[1]).exists():
                raise ExportError(f"{text}: no such file")
            raise ExportError(f"--video-lora {text}: {match[2]!r} is no weight (write FILE:0.5)")
        return cls(_found(Path(match[1])), number)


def _found(path: Path) -> Path:
    """The file of a path. ExportError: there is none, or it is no safetensors file."""
    if path.is_dir():
        path /= STANDARD_NAME
    if not path.is_file():
        raise ExportError(f"{path}: no such file")
    if path.suffix != ".safetensors":
        raise ExportError(f"{path}: a LoRA of a text-to-video model is read from safetensors alone")
    return path


class VideoLoraMerge:
    """Adapters that were checked against the model that they change.

    loras: all of them are added.
    modules: UNet or transformer, and text encoder, by their names in `PARTS`; their layers' names and shapes
        alone are used, so they may be on the meta device.

    ExportError: a file is damaged, or empty, or has a tensor that cannot be used; the message names it.
    """

    def __init__(self, loras: Sequence[VideoLora], modules: Mapping[str, nn.Module]) -> None:
        self._files = [(_LoraFile(lora.file, modules), lora.weight) for lora in loras]

    def describe(self, part: str) -> list[dict[str, Any]]:
        """The files that change a part: their names, SHA-256 and weights."""
        return [
            {"file": file.path.name, "sha256": sha256(file.path), "weight": weight}
            for file, weight in self._files
            if file.pairs[part]
        ]

    def changes(self, part: str) -> bool:
        """Whether some adapter changes a part of `PARTS`."""
        return any(file.pairs[part] for file, _ in self._files)

    def apply(self, part: str, module: Any) -> Any:
        """Merges all adapters into a module, in place, and returns it.

        What an adapter changes becomes float32, and with it the whole module, unless its weights are mapped:
        the others then stay as they are stored.
        """
        if not self.changes(part):
            return module
        if not is_mapped(module):
            module.float()
        for file, weight in self._files:
            for layer, pair in file.pairs[part].items():
                changed, own = module.get_submodule(layer), module.get_submodule(layer).weight
                merged = own.double() + weight * file.delta(part, layer, pair).reshape(own.shape)
                changed.weight = nn.Parameter(
                    merged.float(), requires_grad=False
                )  # mapped ones are read-only
        return module


class _LoraFile:
    """One file. pairs: attribute, part -> layer -> the keys of its tensors by "down", "up" and "alpha"."""

    def __init__(self, path: Path, modules: Mapping[str, nn.Module]) -> None:
        self.path = path
        try:
            self._files = WeightFiles([path])
        except CheckpointError as error:
            raise ExportError(str(error)) from None
        self.pairs: dict[str, dict[str, dict[str, str]]] = {part: {} for part in PARTS}
        layers = {part: _layers_of(module) for part, module in modules.items()}
        for key in sorted(self._files.shapes):
            part, layer, role = self._place(key, layers)
            pair = self.pairs[part].setdefault(layer, {})
            if role in pair:
                raise ExportError(f"{path}: {pair[role]} and {key} are names of one tensor")
            pair[role] = key
        if not any(self.pairs.values()):
            raise ExportError(f"{path}: holds no tensors")
        self._settings = self._read_settings()
        for part, found in self.pairs.items():
            for layer, pair in found.items():
                self._check(part, layer, pair, modules[part].get_submodule(layer))

    def delta(self, part: str, layer: str, pair: Mapping[str, str]) -> Tensor:
        """scale * up @ down, float64 [out, everything else of the weight]."""
        up, down = (self._read(pair[role]).flatten(1) for role in ("up", "down"))
        return self._scale(part, layer, pair) * (up @ down)

    def _scale(self, part: str, layer: str, pair: Mapping[str, str]) -> float:
        rank = self._files.shapes[pair["down"]][0]
        if "alpha" in pair:
            return float(self._read(pair["alpha"])) / rank
        settings = self._settings.get(part)
        if settings is None:
            return 1.0
        alpha = by_pattern(settings.get("alpha_pattern"), layer, settings["lora_alpha"])
        return float(alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank))

    def _read(self, key: str) -> Tensor:
        try:
            return self._files.read(key, torch.float64)
        except CheckpointError as error:
            raise ExportError(str(error)) from None

    def _place(self, key: str, layers: Mapping[str, Mapping[str, str]]) -> tuple[str, str, str]:
        """Part, layer and role of a tensor."""
        if match := _KOHYA.fullmatch(key):
            part, name, role = _KOHYA_PARTS[match[1]], match[2], _ROLES[match[3]]
            part = "transformer" if part == "unet" and "transformer" in layers else part
        elif match := _ORIGINAL.fullmatch(key):
            part, name, role = "transformer", match[1], _ROLES[match[2]]
        elif match := _DIFFUSERS.fullmatch(key):
            part, name, role = match[1], match[2].replace(".processor", ""), match[3] or match[4] or match[6]
            if old := match[5]:
                kind = _ATTENTION[part].get(old, f"{old}_proj" if part == "text_encoder" else f"to_{old}")
                name = f"{name}.{kind}"
            role = _ROLES.get(role, role)
        else:
            reason = " (DoRA)" if "dora_scale" in key or "magnitude" in key else ""
            raise ExportError(
                f"{self.path}: unexpected tensor {key!r}{reason}: linear and convolution LoRA of diffusers, "
                "of kohya's scripts and of a transformer's original names is merged"
            )
        if part not in layers:
            raise ExportError(f"{self.path}: {key} is of a {part}, which this model does not have")
        layer = layers[part].get(name)
        if layer is None:
            raise ExportError(f"{self.path}: {key} is of a layer that the {part} does not have")
        return part, layer, role

    def _read_settings(self) -> dict[str, dict[str, Any]]:
        """The LoraConfig of each part that the file's metadata has, checked as adapter_config.json is."""
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as opened:
            text = (opened.metadata() or {}).get(_METADATA)
        if text is None:
            return {}
        try:
            values = json.loads(text)
            found = [(*key.split(".", 1), value) for key, value in values.items()]
        except (ValueError, AttributeError, RecursionError):
            raise ExportError(f"{self.path}: {_METADATA} is not an object in JSON") from None
        settings: dict[str, dict[str, Any]] = {}
        for part, *key, value in found:
            if part not in PARTS or not key:
                raise ExportError(
                    f"{self.path}: {_METADATA} has {'.'.join([part, *key])!r:.80}, an unknown key"
                )
            settings.setdefault(part, {"peft_type": "LORA"})[key[0]] = value
        for part, config in settings.items():
            where = Path(f"{self.path}: {_METADATA} of the {part}")
            check_adapter_config(where, config)
            for name in ("use_dora", "modules_to_save"):
                if config.get(name):
                    raise ExportError(f"{where}: {name} is not supported")
        return settings

    def _check(self, part: str, layer: str, pair: Mapping[str, str], module: Any) -> None:
        if not {"down", "up"} <= set(pair):
            raise ExportError(f"{self.path}: {next(iter(pair.values()))} lacks the other of its two factors")
        for key in pair.values():
            if not self._files.dtypes[key].is_floating_point:
                raise ExportError(f"{self.path}: {key} is not stored in a floating type")
            if not torch.isfinite(self._read(key)).all():
                raise ExportError(f"{self.path}: {key} holds numbers that are not finite")
        down, up = (list(self._files.shapes[pair[role]]) for role in ("down", "up"))
        own = list(module.weight.shape)
        rank = down[0] if down else 0
        # A 1x1 convolution is a linear layer, whose factors may be stored as either.
        fits = len(down) > 1 and (down[1:] == own[1:] or _trimmed(down[1:]) == _trimmed(own[1:]))
        if (
            not fits
            or rank < 1
            or _trimmed(up) != _trimmed([own[0], rank])
            or len(up) < 2
            or len(up) > len(own) + 3
        ):
            raise ExportError(
                f"{self.path}: the factors {up} and {down} of {layer} do not fit its weight {own} in the "
                f"{part}: the adapter belongs to another model"
            )
        if "alpha" in pair and math.prod(self._files.shapes[pair["alpha"]]) != 1:
            raise ExportError(f"{self.path}: {pair['alpha']} is not a single number")
        settings = self._settings.get(part)
        if settings is None:
            return
        if not is_target(settings, layer):
            raise ExportError(f"{self.path}: target_modules of its metadata does not name {layer}")
        told = by_pattern(settings.get("rank_pattern"), layer, settings["r"])
        if told != rank:
            raise ExportError(f"{self.path}: {layer} has the rank {rank}, and the metadata says {told}")


def _trimmed(shape: Sequence[int]) -> list[int]:
    """A shape without sizes of 1 behind the first."""
    sizes = list(shape)
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    return sizes


def _layers_of(module: nn.Module) -> dict[str, str]:
    """The name of each layer that can be changed, by its own name and by all spellings of it in files.

    CLIP text encoders have lost the prefix text_model in newer releases of transformers.
    """
    found: dict[str, str] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, _LAYERS):
            other = (
                name.removeprefix("text_model.") if name.startswith("text_model.") else f"text_model.{name}"
            )
            for spelling in (name, other, *_original_names(module, name)):
                found[spelling] = found[spelling.replace(".", "_")] = name
    return found


def _original_names(module: nn.Module, name: str) -> list[str]:
    """The name of a layer in the code that its model was published with, where that is another."""
    if type(module).__name__ != "WanTransformer3DModel":
        return []
    for pattern, original in _WAN:
        changed, count = pattern.subn(original, name)
        if count:
            return [changed]
    return []
