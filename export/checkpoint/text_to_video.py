"""Loads the networks of a diffusers text-to-video folder: text encoder, UNet or transformer, and VAE.

Every weight comes from the files: a tensor that is missing, left over or of another shape is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from g4v.export.checkpoint import ltx, t5, wan
from g4v.export.checkpoint.loading import StoredModule, open_module
from g4v.export.checkpoint.pipelines import CLIP_ENCODER, denoiser_of, parts_of, pipeline_of, read_config
from g4v.export.errors import ExportError

# Names of the attention's layers before diffusers 0.16, in which VAEs are still published.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def check_weights(t2v: Path, variant: str | None = None) -> None:
    """Checks names, shapes and types of all weights of a text-to-video folder, without reading them.

    variant: as for `load_text_encoder`. ExportError: files are missing or damaged, or a tensor is missing,
    left over or of another shape.
    """
    for name in parts_of(t2v):
        _OPENED[name](t2v, variant)


def load_text_encoder(t2v: Path, variant: str | None = None) -> Any:
    """Loads the CLIPTextModel, T5EncoderModel or UMT5EncoderModel; weights that are all in float16 stay so,
    others become float32. Those of T5 and UMT5 are mapped as they are stored.

    variant: of the weights, such as "fp16", where the folder has it.
    ExportError: as for `check_weights`, or a number is not finite.
    """
    opened = _open_text_encoder(t2v, variant)
    if t5.is_t5(read_config(t2v, "text_encoder")):
        return t5.load_t5(opened)
    model = opened.load()
    model.embeddings.position_ids = torch.arange(model.config.max_position_embeddings).expand((1, -1))
    return model


def load_unet(t2v: Path, variant: str | None = None) -> Any:
    """Loads the UNet3DConditionModel; weights, `variant` and errors as for `load_text_encoder`."""
    return _open_unet(t2v, variant).load()


def load_transformer(t2v: Path, variant: str | None = None) -> Any:
    """Loads the WanTransformer3DModel or LTXVideoTransformer3DModel, its weights mapped as they are stored;
    `variant` and errors as for `load_text_encoder`.
    """
    model = _open_transformer(t2v, variant).map()
    return wan.restore_rotary(model) if pipeline_of(t2v) == wan.PIPELINE else model


def load_vae(t2v: Path, variant: str | None = None) -> Any:
    """Loads the AutoencoderKL, AutoencoderKLWan or AutoencoderKLLTXVideo; weights, `variant` and errors as
    for `load_text_encoder`.
    """
    model = _open_vae(t2v, variant).load()
    return ltx.check_statistics(t2v / "vae", model) if pipeline_of(t2v) in ltx.PIPELINES else model


def open_parts(t2v: Path, variant: str | None = None) -> dict[str, Any]:
    """The denoising network and the text encoder without memory, by their folders' names: for names and
    shapes.

    ExportError: as for `check_weights`.
    """
    names = (denoiser_of(t2v), "text_encoder")
    return {name: _OPENED[name](t2v, variant).module for name in names}


def _open_text_encoder(t2v: Path, variant: str | None) -> StoredModule:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = read_config(t2v, "text_encoder")
    if t5.is_t5(config):
        return t5.open_t5(t2v / "text_encoder", config, variant)

    def make() -> Any:
        return CLIPTextModel(CLIPTextConfig(**{k: v for k, v in config.items() if k in CLIP_ENCODER.obeyed}))

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


def _open_transformer(t2v: Path, variant: str | None) -> StoredModule:
    from diffusers import LTXVideoTransformer3DModel, WanTransformer3DModel

    config = read_config(t2v, "transformer")
    made: Any = LTXVideoTransformer3DModel if pipeline_of(t2v) in ltx.PIPELINES else WanTransformer3DModel
    return _open(t2v, "transformer", variant, lambda: made.from_config(config))


def _open_vae(t2v: Path, variant: str | None) -> StoredModule:
    from diffusers import AutoencoderKL, AutoencoderKLLTXVideo, AutoencoderKLWan

    def rename(name: str, wanted: Any) -> str:
        head, _, layer = name.rpartition(".mid_block.attentions.0.")
        old, _, kind = layer.partition(".")
        return (
            f"{head}.mid_block.attentions.0.{_OLD_ATTENTION[old]}.{kind}" if old in _OLD_ATTENTION else name
        )

    config = read_config(t2v, "vae")
    if pipeline_of(t2v) == wan.PIPELINE:
        return _open(t2v, "vae", variant, lambda: AutoencoderKLWan.from_config(config))
    if pipeline_of(t2v) in ltx.PIPELINES:
        return _open(t2v, "vae", variant, lambda: AutoencoderKLLTXVideo.from_config(config))
    return _open(t2v, "vae", variant, lambda: AutoencoderKL.from_config(config), rename)


_OPENED: dict[str, Callable[[Path, str | None], StoredModule]] = {
    "text_encoder": _open_text_encoder,
    "unet": _open_unet,
    "transformer": _open_transformer,
    "vae": _open_vae,
}


def _open(
    t2v: Path,
    name: str,
    variant: str | None,
    make: Callable[[], Any],
    rename: Callable[[str, Any], str] = lambda name, wanted: name,
    harmless: tuple[str, ...] = (),
) -> StoredModule:
    return open_module(t2v / name, parts_of(t2v)[name].stem, make, rename, harmless, variant)


def check_variant(t2v: Path, variant: str) -> None:
    """Raises ExportError where no part of a text-to-video folder has weights of a variant such as "fp16"."""
    if not any(path.name.split(".")[1:2] == [variant] for path in t2v.glob("*/*model.*")):
        raise ExportError(f"{t2v}: has no weights of the variant {variant!r}; leave --variant out")
