"""What an assistant is made from: a training run, a published checkpoint, or parts that were named alone.

A run describes itself (g4v_train.json). A published mPLUG-Owl checkpoint does not, and neither do its parts
once `python -m g4v.model.bases convert` has taken it apart (g4v.export.checkpoint.description does it then).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.export.checkpoint.overrides import PARTS, PIPELINE, Overrides
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError, of_kind
from g4v.model.bases.hub import fetch_source
from g4v.model.bases.layout import check_keys
from g4v.model.bases.mplug_owl import is_mplug_owl, open_mplug_owl
from g4v.model.bases.video_language import (
    TITLES,
    check_video_language,
    is_video_language,
    open_video_language,
)
from g4v.model.bases.video_language_checkpoint import VideoLanguageCheckpoint

DESCRIPTION = "g4v_train.json"
_OF_A_RUN = (".", *PARTS, "adapter", *(f"t2v/{part}" for part in PIPELINE))
_OWN_PARTS = ("encoder", "abstractor", "llm")  # of a published checkpoint


@dataclass(frozen=True)
class Base:
    """What an export starts from.

    name: as the user named it. folder: where it lies; None where only parts were named. about: content of
    g4v_train.json; None where it has to be written. parts: folders by part. notes: what was assumed.
    """

    name: str
    folder: Path | None
    about: dict[str, Any] | None
    parts: dict[str, Path]
    notes: list[str] = field(default_factory=list)

    @property
    def is_owl(self) -> bool:
        """Whether the parts come from an mPLUG-Owl checkpoint."""
        return self.about is None and "abstractor" in self.parts and self.video_language is None

    @property
    def video_language(self) -> VideoLanguageCheckpoint | None:
        """The checkpoint of SmolVLM2 or of the LLaVA family that the parts come from, if they do."""
        place = self.parts.get("abstractor")
        return open_video_language(place) if place is not None and is_video_language(place) else None


def open_base(source: str | Path | None, overrides: Overrides, weights: bool = True) -> Base:
    """Finds the base that a user names, and downloads it where it is a name of the hub.

    source: a run, a published checkpoint (of mPLUG-Owl, SmolVLM2, LLaVA-NeXT-Video or Video-LLaVA), or what
    was converted: a folder, or a hub name; None where the parts of `overrides` are all there is.

    weights: False: those of a published video language model are not downloaded, since its configuration
    tells the sizes of everything.

    ExportError: there is none, it is damaged, or it is something else.
    """
    if source is None:
        return Base("parts", None, None, {})
    try:
        folder = fetch_source(
            source,
            overrides.variant,
            _OF_A_RUN,
            lambda found: _check(source, found),
            None if weights else is_video_language,
        )
        _check(source, folder)
        if (folder / DESCRIPTION).is_file():
            about = read_json(folder / DESCRIPTION, ExportError)
            return Base(str(source), folder, about, _own_parts(folder, about.get("parts", {})))
        if is_video_language(folder):
            notes = list(open_video_language(folder).notes)
            return Base(str(source), folder, None, dict.fromkeys(_OWN_PARTS, folder), notes)
        if is_mplug_owl(folder):
            notes = list(open_mplug_owl(folder).notes)
            return Base(str(source), folder, None, dict.fromkeys(_OWN_PARTS, folder), notes)
    except CheckpointError as error:
        raise ExportError(str(error)) from None
    notes = read_json(folder / "conversion.json", ExportError).get("notes", [])
    return Base(str(source), folder, None, _own_parts(folder, {}), list(notes))


def _check(source: str | Path, folder: Path) -> None:
    """ExportError unless `folder`, of which the weights may be missing, is a base."""
    known = any((folder / name).is_file() for name in (DESCRIPTION, "conversion.json"))
    if known:
        return
    if is_video_language(folder):
        check_video_language(folder)
        return
    if not is_mplug_owl(folder):
        raise ExportError(f"{source}: {_what_else(folder)}")
    check_keys(read_json(folder / "config.json", ExportError))


def _own_parts(folder: Path, named: Any) -> dict[str, Path]:
    """The folders of a run's parts: its own, and those that its description names ("parts")."""
    found = {part: folder / part for part in PARTS if (folder / part).is_dir()}
    if not isinstance(named, dict) or not all(isinstance(value, str) for value in named.values()):
        raise ExportError(f"{folder / DESCRIPTION}: 'parts' must map names of parts to folders")
    for part, place in named.items():
        if part not in PARTS:
            raise ExportError(f"{folder / DESCRIPTION}: unknown part {part!r} (one of {', '.join(PARTS)})")
        if not (folder / place).exists():
            raise ExportError(
                f"{folder / place}: no such file or directory; {DESCRIPTION} names it as {part}"
            )
        found[part] = folder / place
    return found


def _what_else(folder: Path) -> str:
    """What a folder is that is no base, and what to do."""
    if (folder / "model_index.json").is_file():
        return "is a text-to-video pipeline; name it with --t2v"
    if (folder / "adapter_config.json").is_file():
        return "is an adapter; name it with --adapter"
    if folder.is_file() and folder.suffix.lower() == ".gguf":
        return "is a language model; name it with --llm"
    if folder.is_file():
        return "is a file; name the folder of a run or of a published checkpoint"
    if (folder / "config.json").is_file():
        kind = read_json(folder / "config.json", ExportError).get("model_type")
        option = {"llama": "--llm", "clip": "--vision", "clip_vision_model": "--vision"}.get(str(kind))
        if option:
            return f"is a {kind!r} model; name it with {option}"
        return f"{of_kind(kind)}; a base is a training run, or a checkpoint of mPLUG-Owl, {TITLES}"
    return f"has no {DESCRIPTION}, conversion.json or config.json: it is no run and no published checkpoint"
