"""The description of an assistant that is put together from published parts: what a run says of itself."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.errors import ArgumentError
from g4v.export.checkpoint import ltx
from g4v.export.checkpoint.base import DESCRIPTION, Base
from g4v.export.checkpoint.loading import load_part
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.pipelines import denoiser_of, pipeline_of
from g4v.export.checkpoint.samplers import sampler_of
from g4v.export.checkpoint.video_sizes import vae_scale
from g4v.export.errors import ExportError
from g4v.model.bases.chat_template import read_chat_template
from g4v.model.bases.errors import CheckpointError
from g4v.model.prompt import PromptTemplate
from g4v.model.prompt_presets import (
    FRAMES,
    PRESETS,
    TEXT_GENERATION,
    preset_template,
    teaching_system,
    untrained_template,
)

ASSISTANT = "GPT4Video"
_OWL = "mplug-owl"
_KEYS = ("name", "assistant", "description", "prompt", "frames", "generation", "licences", "provenance")

# What the model cards say: frames and size the pipeline was trained for, and how it is best sampled.
_KNOWN_VIDEO: dict[str, dict[str, Any]] = {
    "zeroscope_v2_576w": {"frames": 24, "width": 576, "height": 320, "steps": 40, "guidance_scale": 9.0},
    "zeroscope_v2_XL": {"frames": 24, "width": 1024, "height": 576, "steps": 40, "guidance_scale": 9.0},
    "text-to-video-ms-1.7b": {"frames": 16, "width": 256, "height": 256, "steps": 25, "guidance_scale": 9.0},
}
_FPS = 8
# Sizes, steps and guidance of diffusers' WanPipeline; the frames a second that Wan 2.1 was trained at.
_WAN_VIDEO = {"frames": 81, "width": 832, "height": 480, "steps": 50, "guidance_scale": 5.0, "fps": 16}
# Those of diffusers' LTXPipeline and LTXConditionPipeline, which decode at time step 0; and what a model card
# says otherwise.
_LTX_VIDEO = {"frames": 161, "width": 704, "height": 512, "steps": 50, "guidance_scale": 3.0, "fps": 25}
_KNOWN_LTX = {"LTX-Video-0.9.1-diffusers": {"decode_timestep": 0.05, "decode_noise_scale": 0.025}}
_ANY_VIDEO = {"frames": 16, "steps": 25, "guidance_scale": 9.0}
_SAMPLER = {"scheduler": {"type": "dpmsolver++"}}


def video_settings(name: str, t2v: Path) -> dict[str, Any]:
    """Returns generation.video for a text-to-video pipeline that is published.

    name: as the user named it, such as "cerspense/zeroscope_v2_576w"; what its card says is then known. Of
    others the size is that of its unet/config.json, in pixels. A folder of Wan or of LTX-Video has the size
    and the settings of diffusers' WanPipeline, LTXPipeline or LTXConditionPipeline.

    ExportError: a configuration file cannot be read.
    """
    if pipeline_of(t2v) in ltx.PIPELINES:
        return {**_LTX_VIDEO, **_KNOWN_LTX.get(Path(name).name, {}), **_sampler(t2v)}
    if denoiser_of(t2v) == "transformer":
        return {**_WAN_VIDEO, **_sampler(t2v)}
    known = _KNOWN_VIDEO.get(Path(name).name)
    if known is None:
        config = read_json(t2v / "unet" / "config.json", ExportError)
        scale = vae_scale(t2v)
        size = config.get("sample_size") or 32
        height, width = size if isinstance(size, list) else (size, size)
        known = {**_ANY_VIDEO, "width": width * scale, "height": height * scale}
    return {**known, "fps": _FPS, **_sampler(t2v)}


def _sampler(t2v: Path) -> dict[str, Any]:
    """DPM-Solver++ for a pipeline that is published with DDIM, or with a sampler that the runtime lacks; any
    other pipeline keeps its own, for which it may have been distilled.
    """
    config = t2v / "scheduler" / "scheduler_config.json"
    own = sampler_of(read_json(config, ExportError)) if config.is_file() else None
    return _SAMPLER if own in (None, "ddim") else {}


def describe(
    base: Base, parts: dict[str, Path], tokenizer: Any, sources: dict[str, str], template: str | None
) -> dict[str, Any]:
    """Returns the content of g4v_train.json for an assistant that no training run describes.

    parts: folders by part. tokenizer: the language model's, of transformers; None without one. sources: how
    the user named base and parts, for name and provenance. template: name of a prompt template
    (g4v.model.prompt_presets); None for that of the base, or the tokenizer's own chat template.

    ExportError: the tokenizer does not fit the template, or its chat template says more than one can.
    """
    kind = template or (_OWL if base.is_owl else None)
    first = sources.get("base") or sources.get("llm") or sources.get("t2v") or "assistant"
    name = Path(first).stem if first.endswith(".gguf") else Path(first).name
    about: dict[str, Any] = {
        "name": name,
        "assistant": ASSISTANT,
        "description": f"Put together from {', '.join(dict.fromkeys(map(_shown, sources.values())))}.",
        "prompt": _prompt(base, sources.get("llm", base.name), kind, tokenizer, "t2v" in parts).to_manifest(),
        "frames": _frames(base),
        "generation": {"text": TEXT_GENERATION[_OWL] if base.is_owl else {}},
        "licences": [
            {"component": part, "licence": _licence(source, base.folder if part == "base" else parts[part])}
            for part, source in sources.items()
        ],
        "provenance": {
            **{part: _shown(source) for part, source in sources.items()},
            **({"notes": base.notes} if base.notes else {}),
        },
    }
    if "t2v" in parts:
        about["generation"]["video"] = video_settings(sources.get("t2v", "t2v"), parts["t2v"])
    return about


def _frames(base: Base) -> int:
    """How many frames of a video are looked at, or at most."""
    if base.video_language is not None:
        return int(base.video_language.frame_sampling["frames"])
    return FRAMES[_OWL] if base.is_owl else 8


def _prompt(base: Base, place: str, kind: str | None, tokenizer: Any, teach: bool) -> PromptTemplate:
    """The template of an untrained language model. teach: whether its system text teaches the tags of videos
    by examples.
    """
    if tokenizer is None:  # without a language model nothing is prompted
        return PromptTemplate(turn_end_id=0)
    own = base.video_language
    if own is not None and kind is not None:
        raise ExportError(f"{base.name}: the texts around its videos are its own; leave --template out")
    try:
        if own is not None:
            given = own.template(tokenizer)
            return replace(given, system=teaching_system(system=given.system)) if teach else given
        if kind is not None:
            return untrained_template(kind, tokenizer) if teach else preset_template(kind, tokenizer)
        template = read_chat_template(tokenizer)
    except (ArgumentError, CheckpointError) as error:
        if own is not None:
            raise ExportError(str(error)) from None
        rest = f" (--template {', '.join(name for name in PRESETS if name != kind)})"
        raise ExportError(f"{place}: {error}{rest}") from None
    return replace(template, system=teaching_system(system=template.system)) if teach else template


def _shown(source: str) -> str:
    """A hub name, or the last part of a path: the folders of whoever exports are nobody's business."""
    return Path(source).resolve().name if Path(source).exists() else source


def _licence(source: str, place: Path | None) -> str:
    """What the model card in the folder `place` says; else where to look."""
    card = (place or Path(source)) / "README.md"
    if card.is_file():
        head = card.read_text("utf-8", errors="replace").split("---")
        found = re.search(r"^license:\s*([\w.-]+)\s*$", head[1], re.MULTILINE) if len(head) > 2 else None
        if found:
            return found[1]
    return f"that of {_shown(source)}"


def checked_description(base: Base) -> dict[str, Any]:
    """Returns the content of a run's g4v_train.json. ExportError: a key is missing or unknown."""
    about = base.about or {}
    place = (base.folder or Path()) / DESCRIPTION
    for key in _KEYS:
        if key not in about:
            raise ExportError(f"{place}: {key!r} is missing")
    unknown = sorted(set(about) - set(_KEYS) - {"parts"})
    if unknown:
        raise ExportError(f"{place}: unknown key {unknown[0]!r}")
    return about


def describe_parts(base: Base, parts: dict[str, Path], overrides: Overrides) -> dict[str, Any]:
    """Returns what `describe` writes, for the parts of a base and those that the user names.

    ExportError: the tokenizer cannot be loaded, or as `describe`.
    """
    from g4v.model.bases.llm import load_tokenizer

    named = {"base": base.name} if base.folder is not None else {}
    given = (("llm", overrides.llm), ("encoder", overrides.vision), ("t2v", overrides.t2v))
    sources = named | {part: source for part, source in given if source is not None}
    tokenizer = load_part(parts["llm"], load_tokenizer) if "llm" in parts else None
    return describe(base, parts, tokenizer, sources, overrides.template)


def open_prompt(base: Base, about: dict[str, Any], overrides: Overrides) -> PromptTemplate:
    """Returns the prompt template of a description, with the system text of `overrides` in both.

    ExportError: an unknown or missing key, or --template for a run, which has its own.
    """
    values = about["prompt"]
    if overrides.template is not None and base.about is not None:
        raise ExportError(f"{base.name}: was trained with its own prompt template; leave --template out")
    if overrides.system is not None and isinstance(values, dict):
        about["prompt"] = values = {**values, "system": overrides.system}
    try:
        return PromptTemplate.from_manifest(values)
    except TypeError as error:
        raise ExportError(f"{base.folder or base.name}: prompt: {error}") from None
