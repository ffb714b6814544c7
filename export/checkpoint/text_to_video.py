"""The networks of a diffusers text-to-video folder: text encoder, UNet and VAE.

Their configurations are read through to the last key: each is obeyed by the class that it describes, known
to have no effect here (`_NO_EFFECT`), or refused by name. Every weight comes from the files: a tensor that is
missing, left over or of another shape is refused by name too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from g4v._console import printable
from g4v._files import read_json
from g4v.export.checkpoint.loading import StoredModule, open_module
from g4v.export.errors import ExportError
from g4v.model.config import MOST_LAYERS, MOST_SIZE


class _Part(NamedTuple):
    """One folder of a text-to-video model."""

    names: tuple[str, ...]  # of its class, in config.json and model_index.json
    stem: str  # of its weight files
    obeyed: frozenset[str]  # keys that the class, or the exporter, reads


_NO_EFFECT = {
    "_class_name": "read apart",
    "architectures": "read apart",
    "model_type": "read apart",
    "_diffusers_version": "says who wrote the file",
    "_name_or_path": "says where the file came from",
    "transformers_version": "says who wrote the file",
    "sample_size": "the size that it was trained at; any is made",
    "force_upcast": "everything is computed in float32, or as --precision says",
    "dtype": "that of the stored weights is read from them",
    "torch_dtype": "as dtype",
    "dropout": "of training",
    "attention_dropout": "of training",
    "initializer_range": "of training",
    "initializer_factor": "of training",
    "projection_dim": "of the pooled text, which is not used",
    "bos_token_id": "those of the tokenizer are used",
    "eos_token_id": "of the pooled text, which is not used",
    "pad_token_id": "that of the tokenizer is used",
}
_UNET = _Part(
    ("UNet3DConditionModel",),
    "diffusion_pytorch_model",
    frozenset(
        {
            "in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels",
            "layers_per_block", "downsample_padding", "mid_block_scale_factor", "act_fn", "norm_num_groups",
            "norm_eps", "cross_attention_dim", "attention_head_dim", "num_attention_heads",
            "time_cond_proj_dim",
        }
    ),
)  # fmt: skip
_VAE = _Part(
    ("AutoencoderKL",),
    "diffusion_pytorch_model",
    frozenset(
        {
            "in_channels", "out_channels", "down_block_types", "up_block_types", "block_out_channels",
            "layers_per_block", "act_fn", "latent_channels", "norm_num_groups", "scaling_factor",
            "shift_factor", "latents_mean", "latents_std", "use_quant_conv", "use_post_quant_conv",
            "mid_block_add_attention",
        }
    ),
)  # fmt: skip
_TEXT_ENCODER = _Part(
    ("CLIPTextModel",),
    "model",
    frozenset(
        {
            "vocab_size", "hidden_size", "intermediate_size",
            "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "hidden_act",
            "layer_norm_eps",
        }
    ),
)  # fmt: skip
_PARTS = {"text_encoder": _TEXT_ENCODER, "unet": _UNET, "vae": _VAE}
# Values that the graphs and the runtime can express, of the obeyed keys that take more in the libraries; of
# a list each element.
_ACCEPTED: dict[tuple[str, str], tuple[Any, ...]] = {
    ("unet", "act_fn"): ("silu",),
    ("unet", "time_cond_proj_dim"): (None,),
    ("unet", "down_block_types"): ("CrossAttnDownBlock3D", "DownBlock3D"),
    ("unet", "up_block_types"): ("CrossAttnUpBlock3D", "UpBlock3D"),
    ("vae", "act_fn"): ("silu",),
    ("vae", "out_channels"): (3,),
    ("vae", "shift_factor"): (None, 0),
    ("vae", "latents_mean"): (None,),
    ("vae", "latents_std"): (None,),
    ("vae", "up_block_types"): ("UpDecoderBlock2D",),
    ("text_encoder", "hidden_act"): ("quick_gelu", "gelu"),
}
_NEEDED = {"unet": ("block_out_channels",), "vae": ("block_out_channels", "latent_channels")}

_PIPELINES = ("TextToVideoSDPipeline", "VideoToVideoSDPipeline")  # the second has the same parts

# Names of the attention's layers before diffusers 0.16, in which VAEs are still published.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def check_text_to_video(t2v: Path) -> None:
    """Checks what the JSON files of a text-to-video folder say, without its weights and its scheduler.

    ExportError: a file is missing or damaged, names another class, or has a key with an unknown effect.
    """
    if not (t2v / "unet" / "config.json").is_file():
        raise ExportError(f"{t2v}: has no unet/config.json: it is no text-to-video pipeline of diffusers")
    index = t2v / "model_index.json"
    if index.exists():
        _check_index(index, read_json(index, ExportError))
    for name in _PARTS:
        read_config(t2v, name)


def check_caption_tokenizer(t2v: Path) -> None:
    """Raises ExportError where a file of the tokenizer is missing: tokenizer.json, or the two of CLIP."""
    tokenizer = t2v / "tokenizer"
    if not (tokenizer / "tokenizer.json").is_file():
        for name in ("vocab.json", "merges.txt"):
            if not (tokenizer / name).is_file():
                raise ExportError(f"{tokenizer / name}: no such file, and no tokenizer.json")


def read_config(t2v: Path, name: str) -> dict[str, Any]:
    """Returns config.json of "unet", "vae" or "text_encoder". ExportError: as for `check_text_to_video`."""
    part, path = _PARTS[name], t2v / name / "config.json"
    values = read_json(path, ExportError)
    found = values.get("_class_name") or values.get("architectures")
    found = found if isinstance(found, list) else [found]
    if found != [None] and not set(map(str, found)) <= set(part.names):
        names = printable(", ".join(map(str, found)))
        raise ExportError(f"{path}: is of the class {names:.80}, not {part.names[0]}")
    if name == "text_encoder" and values.get("model_type", "clip_text_model") != "clip_text_model":
        raise ExportError(f"{path}: model_type is {values['model_type']!r}, not 'clip_text_model'")
    for key in values:
        if key not in part.obeyed and key not in _NO_EFFECT:
            raise ExportError(f"{path}: unknown key {key!r}: its effect on the network is not supported")
    _check_values(path, name, values)
    return values


def _check_values(path: Path, name: str, values: dict[str, Any]) -> None:
    for key in _NEEDED.get(name, ()):
        if key not in values:
            raise ExportError(f"{path}: {key} is missing")
    for (part, key), able in _ACCEPTED.items():
        if part != name or key not in values:
            continue
        for value in values[key] if isinstance(values[key], list) else [values[key]]:
            if value not in able:
                raise ExportError(
                    f"{path}: {key} {value!r} is not supported, only {', '.join(map(str, able))}"
                )
    sizes = values.get("block_out_channels", [1])
    if not isinstance(sizes, list) or not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise ExportError(f"{path}: block_out_channels is {sizes!r} but must be a list of positive integers")
    for key, value in values.items():  # the network is made before it is known whether its weights are there
        most = MOST_LAYERS if key in ("num_hidden_layers", "layers_per_block") else MOST_SIZE
        for number in value if isinstance(value, list) else [value]:
            if type(number) is int and number > most and key not in _NO_EFFECT:
                raise ExportError(f"{path}: {key} is {number!r:.80} but must be at most {most}")
    if name == "unet" and values.get("in_channels", 4) != values.get("out_channels", 4):
        raise ExportError(
            f"{path}: in_channels and out_channels differ: it does not predict noise of its input"
        )


def _check_index(path: Path, values: dict[str, Any]) -> None:
    for key, value in values.items():
        name = value[1] if isinstance(value, list) and len(value) == 2 else value
        if key == "_class_name":
            if value not in _PIPELINES:
                raise ExportError(f"{path}: pipeline {value!r} is not supported, only {_PIPELINES[0]}")
        elif key in _PARTS:
            if name not in _PARTS[key].names:
                raise ExportError(
                    f"{path}: {key} is {name!r}, which is not supported, only {_PARTS[key].names[0]}"
                )
        elif key == "scheduler":
            config = path.parent / "scheduler" / "scheduler_config.json"
            found = read_json(config, ExportError).get("_class_name")
            if name != found:
                raise ExportError(
                    f"{path}: scheduler is {name!r}, but {config} is of {found!r}: make them agree"
                )
        elif key != "tokenizer" and not key.startswith("_") and name is not None:
            raise ExportError(f"{path}: unknown part {key!r}: its effect on videos is not supported")


def check_weights(t2v: Path, variant: str | None = None) -> None:
    """Checks names, shapes and types of all weights of a text-to-video folder, without reading them.

    variant: as for `load_text_encoder`. ExportError: files are missing or damaged, or a tensor is missing,
    left over or of another shape.
    """
    for opened in (_open_text_encoder, _open_unet, _open_vae):
        opened(t2v, variant)


def load_text_encoder(t2v: Path, variant: str | None = None) -> Any:
    """Loads the CLIPTextModel; weights that are all in float16 stay so, others become float32.

    variant: of the weights, such as "fp16", where the folder has it.
    ExportError: as for `check_weights`, or a number is not finite.
    """
    model = _open_text_encoder(t2v, variant).load()
    model.embeddings.position_ids = torch.arange(model.config.max_position_embeddings).expand((1, -1))
    return model


def load_unet(t2v: Path, variant: str | None = None) -> Any:
    """Loads the UNet3DConditionModel; weights, `variant` and errors as for `load_text_encoder`."""
    return _open_unet(t2v, variant).load()


def load_vae(t2v: Path, variant: str | None = None) -> Any:
    """Loads the AutoencoderKL; weights, `variant` and errors as for `load_text_encoder`."""
    return _open_vae(t2v, variant).load()


def _open_text_encoder(t2v: Path, variant: str | None) -> StoredModule:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = read_config(t2v, "text_encoder")

    def make() -> Any:
        return CLIPTextModel(CLIPTextConfig(**{k: v for k, v in config.items() if k in _TEXT_ENCODER.obeyed}))

    def rename(name: str, wanted: Any) -> str:
        for other in (name.removeprefix("text_model."), f"text_model.{name}"):
            if other in wanted and name not in wanted:
                return other
        return name

    # Positions were stored as numbers before transformers 4.31.
    harmless = ("text_model.embeddings.position_ids", "embeddings.position_ids")
    return _open(t2v, "text_encoder", variant, make, rename, harmless)


def _open_unet(t2v: Path, variant: str | None) -> StoredModule:
    from diffusers import UNet3DConditionModel

    config = read_config(t2v, "unet")
    return _open(t2v, "unet", variant, lambda: UNet3DConditionModel.from_config(config))


def _open_vae(t2v: Path, variant: str | None) -> StoredModule:
    from diffusers import AutoencoderKL

    def rename(name: str, wanted: Any) -> str:
        head, _, layer = name.rpartition(".mid_block.attentions.0.")
        old, _, kind = layer.partition(".")
        return (
            f"{head}.mid_block.attentions.0.{_OLD_ATTENTION[old]}.{kind}" if old in _OLD_ATTENTION else name
        )

    config = read_config(t2v, "vae")
    return _open(t2v, "vae", variant, lambda: AutoencoderKL.from_config(config), rename)


def _open(
    t2v: Path,
    name: str,
    variant: str | None,
    make: Callable[[], Any],
    rename: Callable[[str, Any], str] = lambda name, wanted: name,
    harmless: tuple[str, ...] = (),
) -> StoredModule:
    return open_module(t2v / name, _PARTS[name].stem, make, rename, harmless, variant)


def check_variant(t2v: Path, variant: str) -> None:
    """Raises ExportError where no part of a text-to-video folder has weights of a variant such as "fp16"."""
    if not any(path.name.split(".")[1:2] == [variant] for path in t2v.glob("*/*model.*")):
        raise ExportError(f"{t2v}: has no weights of the variant {variant!r}; leave --variant out")


def vae_scale(t2v: Path) -> int:
    """Returns how many pixels of height, and of width, one latent of the VAE stands for.

    t2v: the text-to-video folder. ExportError: its vae/config.json cannot be read.
    """
    config = read_json(t2v / "vae" / "config.json", ExportError)
    return 2 ** (len(config.get("block_out_channels", (64,))) - 1)  # the default is diffusers'
