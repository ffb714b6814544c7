"""Where the parts of a bundle come from: the run, what its description names, and what the user names.

A run may leave parts to others: "parts" in its g4v_train.json maps encoder, abstractor, frame_checker, llm
and t2v to folders, relative to the run. What the user names comes before both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.export.checkpoint.lora import Adapter
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.weight_files import find_source

_MOST = {"frames": 1024, "width": 4096, "height": 4096}  # as csrc/diffusion/request.cc has it
PARTS = ("encoder", "abstractor", "frame_checker", "llm", "t2v")


@dataclass(frozen=True)
class Sources:
    """What takes the place of a run's own parts; None leaves them."""

    llm: str | None = None  # LlamaForCausalLM: folder, GGUF file or hub name
    adapters: Sequence[Adapter] | None = None
    vision: str | None = None  # CLIPVisionModel or g4v encoder: folder or hub name
    t2v: str | None = None  # diffusers text-to-video pipeline: folder or hub name
    frames: int | None = None  # of the videos that are made
    video_size: tuple[int, int] | None = None  # width and height of the videos that are made, pixels

    def put_video(self, about: dict[str, Any]) -> None:
        """Puts frames and size in the place of those in g4v_train.json; ExportError: out of range."""
        found: dict[str, int] = {}
        if self.frames is not None:
            found["frames"] = self.frames
        if self.video_size is not None:
            found["width"], found["height"] = self.video_size
        for name, value in found.items():
            most = _MOST[name]
            if not 1 <= value <= most:
                raise ExportError(f"{name} of videos is {value}: it must be from 1 to {most}")
        if found:
            video = about["generation"].get("video", {})
            about["generation"] = {**about["generation"], "video": {**video, **found}}


def parse_size(text: str) -> tuple[int, int]:
    """ "576x320" -> width and height; ExportError for other texts."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise ExportError(f"video size {text!r}: write WIDTHxHEIGHT in pixels, such as 576x320")
    return int(match[1]), int(match[2])


NONE = Sources()


def locate(run: Path, named: Any, sources: Sources) -> dict[str, Path]:
    """Part -> its folder or GGUF file, for all that exist. named: "parts" of the run's description.

    Hub names are downloaded into the hub's own cache, which is the only use of the network. ExportError: a
    part that is named and is not there, or cannot be downloaded.
    """
    found = {part: run / part for part in PARTS if (run / part).is_dir()}
    if not isinstance(named, dict) or not all(isinstance(value, str) for value in named.values()):
        raise ExportError(f"{run / 'g4v_train.json'}: 'parts' must map names of parts to folders")
    for part, place in named.items():
        if part not in PARTS:
            raise ExportError(f"{run / 'g4v_train.json'}: unknown part {part!r} (one of {', '.join(PARTS)})")
        if not (run / place).exists():
            raise ExportError(f"{run / place}: no such file or directory; g4v_train.json names it as {part}")
        found[part] = run / place
    for part, source in (("llm", sources.llm), ("encoder", sources.vision), ("t2v", sources.t2v)):
        if source is not None:
            found[part] = _fetch(source)
    return found


def adapters_of(run: Path, sources: Sources) -> Sequence[Adapter]:
    """The adapters to merge: the user's, or the run's own."""
    if sources.adapters is not None:
        return sources.adapters
    return [Adapter(run / "adapter")] if (run / "adapter").is_dir() else []


def _fetch(source: str) -> Path:
    try:
        place = find_source(source)
    except CheckpointError as error:
        raise ExportError(str(error)) from None
    if isinstance(place, Path):
        return place
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(place, allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt"]))
    except Exception as error:  # of the hub's client and of the network below it
        raise ExportError(f"{source}: cannot be downloaded: {one_line(error)}") from None
