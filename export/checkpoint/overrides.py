"""Finds the parts of a training run: its own folders, those that its description names, and the user's.

A run may leave parts elsewhere: "parts" in its g4v_train.json maps encoder, abstractor, frame_checker, llm
and t2v to folders, relative to the run. What the user names (`Overrides`) comes before both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.export.checkpoint.adapter import Adapter
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.weight_files import find_source

_LARGEST = {"frames": 1024, "width": 4096, "height": 4096}  # as csrc/diffusion/request.cc has it
PARTS = ("encoder", "abstractor", "frame_checker", "llm", "t2v")


@dataclass(frozen=True)
class Overrides:
    """What the user names in place of a run's own parts and settings; None keeps the run's.

    llm: LlamaForCausalLM as a folder, a GGUF file or a name on the Hugging Face hub.
    adapters: LoRA adapters to merge into the language model; an empty list merges none.
    vision: CLIPVisionModel or g4v encoder, as a folder or a hub name.
    t2v: diffusers text-to-video pipeline, as a folder or a hub name.
    frames: number of frames of the videos that the assistant makes, 1 to 1024.
    video_size: width and height of those videos in pixels, 1 to 4096 each.
    """

    llm: str | None = None
    adapters: Sequence[Adapter] | None = None
    vision: str | None = None
    t2v: str | None = None
    frames: int | None = None
    video_size: tuple[int, int] | None = None

    def apply_video(self, about: dict[str, Any]) -> None:
        """Replaces frames and size of generation.video in `about`, the content of g4v_train.json.

        ExportError: a value is out of range.
        """
        found: dict[str, int] = {}
        if self.frames is not None:
            found["frames"] = self.frames
        if self.video_size is not None:
            found["width"], found["height"] = self.video_size
        for name, value in found.items():
            largest = _LARGEST[name]
            if not 1 <= value <= largest:
                raise ExportError(f"{name} of videos is {value}: it must be from 1 to {largest}")
        if found:
            video = about["generation"].get("video", {})
            about["generation"] = {**about["generation"], "video": {**video, **found}}


def parse_size(text: str) -> tuple[int, int]:
    """Reads a video size such as "576x320" and returns width and height in pixels.

    ExportError: the text is of another form.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise ExportError(f"video size {text!r}: write WIDTHxHEIGHT in pixels, such as 576x320")
    return int(match[1]), int(match[2])


NO_OVERRIDES = Overrides()


def locate(run: Path, named: Any, overrides: Overrides) -> dict[str, Path]:
    """Returns for each part of a run that exists (a name in `PARTS`) its folder, or the GGUF file of "llm".

    run: the folder of the training run.
    named: the value of "parts" in its g4v_train.json.

    Hub names are downloaded into the hub's own cache; nothing else uses the network.
    ExportError: a part that is named does not exist or cannot be downloaded.
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
    for part, source in (("llm", overrides.llm), ("encoder", overrides.vision), ("t2v", overrides.t2v)):
        if source is not None:
            found[part] = _fetch(source)
    return found


def adapters_of(run: Path, overrides: Overrides) -> Sequence[Adapter]:
    """Returns the adapters to merge: those of the user, or else the run's own."""
    if overrides.adapters is not None:
        return overrides.adapters
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
