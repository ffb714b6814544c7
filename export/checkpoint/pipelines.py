"""The pipelines of diffusers whose text-to-video folders are read, and their JSON files.

Configurations are read through to the last key: each is obeyed by the class that it describes, known to have
no effect here (`_NO_EFFECT`), or refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v._console import printable
from g4v._files import read_json
from g4v.export.checkpoint import ltx, t5, wan
from g4v.export.checkpoint.diffusers_part import Part
from g4v.export.checkpoint.sentencepiece_model import MODEL_FILES
from g4v.export.errors import ExportError
from g4v.model.config import MOST_LAYERS, MOST_SIZE

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
_UNET = Part(
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
    {
        "act_fn": ("silu",),
        "time_cond_proj_dim": (None,),
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("CrossAttnUpBlock3D", "UpBlock3D"),
    },
    ("block_out_channels",),
)  # fmt: skip
_VAE = Part(
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
    {
        "act_fn": ("silu",),
        "out_channels": (3,),
        "shift_factor": (None, 0),
        "latents_mean": (None,),
        "latents_std": (None,),
        "up_block_types": ("UpDecoderBlock2D",),
    },
    ("block_out_channels", "latent_channels"),
)  # fmt: skip
CLIP_ENCODER = Part(
    ("CLIPTextModel", *t5.CLASSES),
    "model",
    frozenset(
        {
            "vocab_size", "hidden_size", "intermediate_size",
            "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "hidden_act",
            "layer_norm_eps",
        }
    ),
    {"hidden_act": ("quick_gelu", "gelu")},
)  # fmt: skip
# Pipeline -> what its parts may be. VideoToVideoSDPipeline has the parts of the first.
_UNET_PARTS = {"text_encoder": CLIP_ENCODER, "unet": _UNET, "vae": _VAE}
_T5_ENCODER = Part(tuple(t5.CLASSES), "model", frozenset())  # its keys are read by t5.py
_WAN_PARTS = {"text_encoder": _T5_ENCODER, "transformer": wan.TRANSFORMER, "vae": wan.VAE}
_LTX_PARTS = {"text_encoder": _T5_ENCODER, "transformer": ltx.TRANSFORMER, "vae": ltx.VAE}
_PIPELINES = {
    "TextToVideoSDPipeline": _UNET_PARTS,
    "VideoToVideoSDPipeline": _UNET_PARTS,
    wan.PIPELINE: _WAN_PARTS,
    ltx.PIPELINE: _LTX_PARTS,
    ltx.CONDITION_PIPELINE: _LTX_PARTS,
}
# What other pipelines of diffusers with the same networks do otherwise.
_OTHERS = {
    "LTXImageToVideoPipeline": "it makes videos of pictures",
    "LTXLatentUpsamplePipeline": "it makes no videos of texts",
}
_LAYERS = ("num_hidden_layers", "num_layers", "layers_per_block", "decoder_layers_per_block")
UNET_PIPELINE = "TextToVideoSDPipeline"


def pipeline_of(t2v: Path) -> str:
    """Returns the pipeline that a text-to-video folder is of: "TextToVideoSDPipeline", "WanPipeline",
    "LTXPipeline" or "LTXConditionPipeline".

    It is the one whose denoising network is there; of the last two, which have the same, the one that
    model_index.json names, and the first where it is not there. ExportError: there is none, or
    model_index.json names another pipeline.
    """
    index = t2v / "model_index.json"
    named = read_json(index, ExportError).get("_class_name") if index.exists() else None
    if named is not None and named not in tuple(_PIPELINES):
        why = f": {_OTHERS[named]}" if named in tuple(_OTHERS) else ""
        raise ExportError(
            f"{index}: pipeline {named!r:.80} is not supported (one of {', '.join(_PIPELINES)}){why}"
        )
    has_unet, has_transformer = ((t2v / n / "config.json").is_file() for n in ("unet", "transformer"))
    if has_unet and has_transformer:
        raise ExportError(
            f"{t2v}: has unet/ and transformer/: one of the two denoises videos; remove the other"
        )
    if not has_unet and not has_transformer:
        raise ExportError(
            f"{t2v}: has no unet/config.json and no transformer/config.json: it is no text-to-video pipeline "
            "of diffusers"
        )
    found = UNET_PIPELINE
    if has_transformer:
        of_ltx = ltx.is_ltx(read_json(t2v / "transformer" / "config.json", ExportError))
        found = ltx.PIPELINE if of_ltx else wan.PIPELINE
    if named is not None and _PIPELINES[named] is not _PIPELINES[found]:
        raise ExportError(
            f"{index}: is of {named}, but {'transformer' if has_transformer else 'unet'}/ is of {found}"
        )
    return named if named in ltx.PIPELINES else found


def parts_of(t2v: Path) -> dict[str, Part]:
    """Returns what the exporter knows of each folder of a text-to-video model, by name: "text_encoder",
    "unet" or "transformer", and "vae". ExportError: as for `pipeline_of`.
    """
    return _PIPELINES[pipeline_of(t2v)]


def denoiser_of(t2v: Path) -> str:
    """Returns "unet" or "transformer". ExportError: as for `pipeline_of`."""
    return "transformer" if "transformer" in parts_of(t2v) else "unet"


def check_text_to_video(t2v: Path) -> None:
    """Checks what the JSON files of a text-to-video folder say, without its weights and its scheduler.

    ExportError: a file is missing or damaged, names another class, or has a key with an unknown effect.
    """
    parts = parts_of(t2v)
    index = t2v / "model_index.json"
    if index.exists():
        _check_index(index, read_json(index, ExportError), parts)
    for name in parts:
        read_config(t2v, name)


def check_caption_tokenizer(t2v: Path) -> None:
    """Raises ExportError where a file of the tokenizer is missing: tokenizer.json, or the two of CLIP, or the
    one of T5.
    """
    tokenizer = t2v / "tokenizer"
    if not any((tokenizer / name).is_file() for name in ("tokenizer.json", *MODEL_FILES)):
        for name in ("vocab.json", "merges.txt"):
            if not (tokenizer / name).is_file():
                raise ExportError(f"{tokenizer / name}: no such file, and no tokenizer.json")


def read_config(t2v: Path, name: str) -> dict[str, Any]:
    """Returns config.json of a folder that `parts_of` names. ExportError: as for `check_text_to_video`."""
    part, path = parts_of(t2v)[name], t2v / name / "config.json"
    values = read_json(path, ExportError)
    if name == "text_encoder" and t5.is_t5(values):
        t5.check_t5(path, values)
        return values
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
    _check_values(path, name, part, values)
    return values


def _check_values(path: Path, name: str, part: Part, values: dict[str, Any]) -> None:
    for key in part.needed:
        if key not in values:
            raise ExportError(f"{path}: {key} is missing")
    for key, able in part.accepted.items():
        if key not in values:
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
        most = MOST_LAYERS if key in _LAYERS else MOST_SIZE
        for number in value if isinstance(value, list) else [value]:
            if type(number) is int and number > most and key not in _NO_EFFECT:
                raise ExportError(f"{path}: {key} is {number!r:.80} but must be at most {most}")
    if part is wan.TRANSFORMER:
        wan.check_transformer(path, values)
    if part is wan.VAE:
        wan.check_vae(path, values)
    if part is ltx.TRANSFORMER:
        ltx.check_transformer(path, values)
    if part is ltx.VAE:
        ltx.check_vae(path, values)
    if name == "unet" and values.get("in_channels", 4) != values.get("out_channels", 4):
        raise ExportError(
            f"{path}: in_channels and out_channels differ: it does not predict noise of its input"
        )


def _check_index(path: Path, values: dict[str, Any], parts: dict[str, Part]) -> None:
    for key, value in values.items():
        name = value[1] if isinstance(value, list) and len(value) == 2 else value
        if key in parts:
            if name not in parts[key].names:
                able = " or ".join(parts[key].names)
                raise ExportError(f"{path}: {key} is {name!r}, which is not supported, only {able}")
        elif key in wan.INDEX and parts is _WAN_PARTS:
            if value not in wan.INDEX[key]:
                raise ExportError(f"{path}: {key} {value!r:.80} is of Wan 2.2, which is not supported")
        elif key == "scheduler":
            config = path.parent / "scheduler" / "scheduler_config.json"
            found = read_json(config, ExportError).get("_class_name")
            if name != found:
                raise ExportError(
                    f"{path}: scheduler is {name!r}, but {config} is of {found!r}: make them agree"
                )
        elif key != "tokenizer" and not key.startswith("_") and name is not None:
            raise ExportError(f"{path}: unknown part {key!r}: its effect on videos is not supported")
