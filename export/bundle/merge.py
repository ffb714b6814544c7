"""Merges a partial export into the bundle that stands at its place: the other components stay."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from g4v.export.errors import ExportError

_ORDER = (
    "encoder",
    "abstractor",
    "decoder",
    "text_encoder",
    "unet",
    "transformer",
    "vae_decoder",
    "vae_encoder",
    "frame_checker",
)
# Manifest sections that belong to a component.
_SECTIONS = {"prompt": "decoder", "frame_sampling": "encoder"}
_DEFAULTS = (("text", "decoder"), ("video", "unet"), ("video", "transformer"))  # of "generation"
_PROVENANCE = ("relative_errors", "fitted_to", "codes", "samples", "engines", "video_loras")


def keep_components(old: dict[str, Any], out: Path, folder: Path, fresh: Collection[str]) -> dict[str, Any]:
    """Puts the files of those components of a bundle that stay into the folder of a partial export.

    Files are linked where the file system can, else copied.

    old: manifest of the bundle `out`.
    folder: of the partial export.
    fresh: names of the components that were written anew.

    Returns "components" and "tokenizers" of the manifest for what stays.
    ExportError: a file is missing or cannot be linked or copied.
    """
    components = {name: part for name, part in old["components"].items() if name not in fresh}
    tokenizers = {name: dict(spec) for name, spec in old["tokenizers"].items() if name not in fresh}
    files = {file for part in components.values() for v in part["variants"] for file in v["files"]}
    files |= {part["embedding"]["file"] for part in components.values() if "embedding" in part}
    places = {file: file for file in files}
    for name, spec in tokenizers.items():
        # The two components may have shared one file, and the new decoder may have written another one.
        places[spec["file"]] = spec["file"]
        if (folder / spec["file"]).exists() and not _same(out / spec["file"], folder / spec["file"]):
            places[spec["file"]] = spec["file"] = f"{name}_tokenizer.json"
    for file, target in places.items():
        try:
            if not (folder / target).exists():
                _link(out / file, folder / target)
        except OSError as error:
            raise ExportError(f"{out / file}: cannot be kept: {error.strerror}") from None
    return {"components": components, "tokenizers": tokenizers}


def merge_manifests(
    old: dict[str, Any], new: dict[str, Any], kept: dict[str, Any], named: bool
) -> dict[str, Any]:
    """Returns the manifest of a bundle after a partial export.

    old: manifest of the bundle before.
    new: manifest of the partial export, as if its components were all.
    kept: of `keep_components`.
    named: the user has given the bundle's name; else the old one stays.
    """
    components = {**kept["components"], **new["components"]}
    result = {**old, "created_by": new["created_by"], "files": new["files"]}
    if named:
        result["name"] = new["name"]
    tokenizers = {**kept["tokenizers"], **new["tokenizers"]}
    result["components"] = {name: components[name] for name in _ORDER if name in components}
    result["tokenizers"] = {name: tokenizers[name] for name in _ORDER if name in tokenizers}
    result["generation"] = {
        kind: (old if component in kept["components"] else new)["generation"][kind]
        for kind, component in _DEFAULTS
        if component in components
    }
    for section, component in _SECTIONS.items():
        if component in new["components"]:
            result[section] = new[section]
    result["provenance"] = dict(old["provenance"])
    for key in _PROVENANCE:
        before, fresh = (whole["provenance"].get(key, {}) for whole in (old, new))
        # A name is that of a component, or such as "unet (cuda)".
        result["provenance"][key] = {
            name: value
            for name, value in {**before, **fresh}.items()
            if name.split()[0] in kept["components"] or name in fresh
        }
        if not result["provenance"][key]:
            del result["provenance"][key]
    return result


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
