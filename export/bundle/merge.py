"""A bundle that is there already: its manifest, and what a partial export leaves of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from g4v.export.errors import ExportError

MANIFEST = "g4v.json"
FORMAT = "g4v-bundle"
FORMAT_VERSION = 1
_ORDER = ("encoder", "abstractor", "decoder", "text_encoder", "unet", "vae_decoder", "frame_checker")
# Manifest sections that are written with a component.
_SECTIONS = {"prompt": "decoder", "frame_sampling": "encoder"}
_DEFAULTS = {"text": "decoder", "video": "unet"}  # of "generation"


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of the bundle `out`; ExportError if it is none, or of another format."""
    try:
        manifest = json.loads((out / MANIFEST).read_text("utf-8"))
        for key in ("files", "components", "tokenizers", "generation", "provenance"):
            if not isinstance(manifest[key], dict):
                raise ValueError(f"{key!r} is no object")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{out}: is not a bundle ({error})") from None
    if (manifest.get("format"), manifest.get("format_version")) != (FORMAT, FORMAT_VERSION):
        raise ExportError(f"{out}: is a bundle of another format; export it as a whole (--force)")
    return manifest


def keep_rest(old: dict[str, Any], out: Path, folder: Path, fresh: Collection[str]) -> dict[str, Any]:
    """Puts the files of all components but the `fresh` ones into `folder`, without copying where the file
    system can link them, and returns what the manifest says of those components.

    ExportError if a file is missing.
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


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def merged(old: dict[str, Any], new: dict[str, Any], rest: dict[str, Any], named: bool) -> dict[str, Any]:
    """The manifest of a bundle after a partial export. new: as if the fresh components were all; rest: of
    `keep_rest`; named: the user has given the bundle's name.
    """
    components = {**rest["components"], **new["components"]}
    kept = set(rest["components"])
    result = {**old, "created_by": new["created_by"], "files": new["files"]}
    if named:
        result["name"] = new["name"]
    tokenizers = {**rest["tokenizers"], **new["tokenizers"]}
    result["components"] = {name: components[name] for name in _ORDER if name in components}
    result["tokenizers"] = {name: tokenizers[name] for name in _ORDER if name in tokenizers}
    result["generation"] = {
        kind: (old if component in kept else new)["generation"][kind]
        for kind, component in _DEFAULTS.items()
        if component in components
    }
    for section, component in _SECTIONS.items():
        if component in new["components"]:
            result[section] = new[section]
    result["provenance"] = dict(old["provenance"])
    for key in ("relative_errors", "fitted_to", "codes", "samples", "engines"):
        before, fresh = (whole["provenance"].get(key, {}) for whole in (old, new))
        values = {**before, **fresh}
        result["provenance"][key] = {n: v for n, v in values.items() if n.split()[0] in kept or n in fresh}
        if not result["provenance"][key]:
            del result["provenance"][key]
    return result
