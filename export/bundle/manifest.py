"""g4v.json, the manifest of a bundle: its format, and what is written into it from several components.

csrc/bundle/manifest.cc reads g4v.json and refuses what it does not know: a new key here needs one there, and
a change of meaning needs a new FORMAT_VERSION in both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from g4v._files import sha256
from g4v.export.checkpoint.pipelines import pipeline_of
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.video_sizes import check_video_size
from g4v.export.errors import ExportError
from g4v.export.report.component_report import ComponentReport, count_codes

MANIFEST = "g4v.json"
FORMAT = "g4v-bundle"
FORMAT_VERSION = 1

# Defaults of generation.text, and keys that generation.video must have.
_TEXT = {"max_new_tokens": 256, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
_VIDEO = ("frames", "width", "height", "fps", "steps", "guidance_scale")


def read_manifest(out: Path) -> dict[str, Any]:
    """Reads g4v.json of the bundle folder `out`.

    ExportError: the folder is not a bundle, or one of another format.
    """
    try:
        manifest = json.loads((out / MANIFEST).read_text("utf-8-sig"))
        for key in ("files", "components", "tokenizers", "generation", "provenance"):
            if not isinstance(manifest[key], dict):
                raise ValueError(f"{key!r} is no object")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{out}: is not a bundle ({error})") from None
    if (manifest.get("format"), manifest.get("format_version")) != (FORMAT, FORMAT_VERSION):
        raise ExportError(f"{out}: is a bundle of another format; export it as a whole (--force)")
    return manifest


def file_entry(path: Path) -> dict[str, Any]:
    """Returns the manifest's entry of a file: its bytes and its SHA-256."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def generation_section(checkpoint: Checkpoint, components: dict[str, Any]) -> dict[str, Any]:
    """Returns "generation" of the manifest: how texts and videos are made by default.

    components: the manifest's "components".
    ExportError: a setting of the run's videos is missing or out of range.
    """
    given = checkpoint.about["generation"]
    result: dict[str, Any] = {}
    if "decoder" in components:
        result["text"] = {**_TEXT, **given.get("text", {})}
    if "unet" in components or "transformer" in components:
        video = {"negative_prompt": "", **given.get("video", {})}
        video["scheduler"] = checkpoint.scheduler()
        video["schedulers"] = checkpoint.schedulers()
        missing = [key for key in _VIDEO if key not in video]
        if missing:
            raise ExportError(f"g4v_train.json: generation.video: {missing[0]!r} is missing")
        shared = video.get("shared_noise", 0)
        if not isinstance(shared, (int, float)) or not 0 <= shared <= 1:
            raise ExportError(
                f"g4v_train.json: generation.video: 'shared_noise' must be from 0 to 1, not {shared!r}"
            )
        sizes = (video["frames"], video["height"], video["width"])
        check_video_size(checkpoint.parts["t2v"], "g4v_train.json: generation.video: ", *sizes)
        if "transformer" in components:
            video["pipeline"] = pipeline_of(checkpoint.parts["t2v"])
        _check_decoding(video, components.get("vae_decoder"))
        result["video"] = video
    return result


def _check_decoding(video: dict[str, Any], vae: dict[str, Any] | None) -> None:
    """ExportError: time step or noise of the VAE decoder is out of range, or of a decoder without them."""
    for key in ("decode_timestep", "decode_noise_scale"):
        value = video.get(key, 0)
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise ExportError(
                f"g4v_train.json: generation.video: {key!r} must be a number from 0 to 1, not {value!r:.80}"
            )
        if value and vae is not None and not vae.get("whole", {}).get("timestep"):
            raise ExportError(
                f"g4v_train.json: generation.video: {key!r} is there, but the VAE takes no time step"
            )


def provenance_section(given: dict[str, Any], components: Sequence[ComponentReport]) -> dict[str, Any]:
    """Returns "provenance" of the manifest: that of the run, `given`, and what the export found."""
    result: dict[str, Any] = {**given, "relative_errors": {c.label: f"{_error(c):.0e}" for c in components}}
    found: dict[str, dict[str, Any]] = {
        "fitted_to": {c.name: c.fitted_to for c in components if c.fitted_to},
        "codes": {c.name: count_codes(c.codes) for c in components if c.codes},
        "samples": {c.name: c.samples for c in components if c.samples},
        "engines": {c.label: c.engine for c in components if c.engine},
    }
    return result | {key: values for key, values in found.items() if values}


def _error(component: ComponentReport) -> float:
    return component.relative_error if component.rounding_error is None else component.rounding_error


def check_fit(components: dict[str, Any]) -> None:
    """Raises ExportError where two entries of the manifest's "components" do not fit together."""
    if "unet" in components and "transformer" in components:
        raise ExportError("a bundle has unet or transformer, and not both: export it as a whole (--force)")
    pairs = (
        ("encoder", "hidden_size", "abstractor", "hidden_size"),
        ("abstractor", "output_size", "decoder", "hidden_size"),
        ("text_encoder", "hidden_size", "unet", "cross_attention_dim"),
        ("unet", "latent_channels", "vae_decoder", "latent_channels"),
        ("text_encoder", "hidden_size", "transformer", "cross_attention_dim"),
        ("transformer", "latent_channels", "vae_decoder", "latent_channels"),
        ("encoder", "hidden_size", "frame_checker", "hidden_size"),
    )
    for left, left_key, right, right_key in pairs:
        if left not in components or right not in components:
            continue
        a, b = components[left][left_key], components[right][right_key]
        if a != b:
            raise ExportError(
                f"{left}.{left_key} is {a}, but {right}.{right_key} is {b}: they do not fit together"
            )
