"""What the user names in place of the parts and settings of a run or of a published checkpoint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from g4v._command import system_text
from g4v.errors import ArgumentError
from g4v.export.checkpoint.adapter import Adapter
from g4v.export.checkpoint.pipelines import check_text_to_video
from g4v.export.checkpoint.video_lora import VideoLora
from g4v.export.errors import ExportError
from g4v.model.bases.errors import CheckpointError
from g4v.model.bases.hub import Check, fetch_source
from g4v.model.bases.llama_files import read_config
from g4v.model.bases.mplug_owl import is_mplug_owl
from g4v.model.bases.video_language import is_video_language
from g4v.model.bases.vision import check_vision
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
    system: text that opens every conversation.
    template: name of the prompt template of parts that no run describes (g4v.model.prompt_presets).
    variant: of the weights of t2v, such as "fp16", in those of its folders that have it.
    mix: whether parts may be joined that were not trained together.
    video_loras: LoRA files to merge into the text-to-video model.
    video_to_video: whether the VAE's encoder is exported too, so that videos can be made from videos and
        pictures.
    """

    llm: str | None = None
    adapters: Sequence[Adapter] | None = None
    vision: str | None = None
    t2v: str | None = None
    frames: int | None = None
    video_size: tuple[int, int] | None = None
    system: str | None = None
    template: str | None = None
    variant: str | None = None
    mix: bool = False
    video_to_video: bool = False
    video_loras: Sequence[VideoLora] = ()

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


def parse_adapters(texts: Sequence[str]) -> list[Adapter]:
    """Reads what --adapter names: folders or hub names, each perhaps with "=WEIGHT"; "none" is no adapter.

    ExportError: a weight is no number, or "none" stands beside an adapter.
    """
    if "none" in texts and len(texts) > 1:
        raise ExportError("--adapter none stands alone: it leaves out every adapter")
    return [] if "none" in texts else [Adapter.parse(text) for text in texts]


def read_system(argument: str) -> str:
    """Returns the text that opens every conversation: what the file of that name holds where there is one,
    else the argument itself; white space around it is left out.

    ExportError: the file cannot be read, or there is no text.
    """
    try:
        text = system_text(argument).strip()
        text.encode("utf-8")
    except (ArgumentError, UnicodeError) as error:
        raise ExportError(str(error)) from None
    if not text:
        raise ExportError(f"--system {argument}: holds no text")
    return text


NO_OVERRIDES = Overrides()

_FLAT = (".",)
PIPELINE = (".", "unet", "transformer", "vae", "text_encoder", "tokenizer", "scheduler")


def named_parts(overrides: Overrides) -> dict[str, Path]:
    """Returns the folder of each part that the user names (a name in `PARTS`), or the GGUF file of "llm".

    Hub names are downloaded into the hub's own cache; nothing else uses the network.
    ExportError: a part does not exist or cannot be downloaded.
    """
    named = (
        ("llm", overrides.llm, None, _FLAT, _check_llm),
        ("encoder", overrides.vision, None, _FLAT, check_vision),
        ("t2v", overrides.t2v, overrides.variant, PIPELINE, check_text_to_video),
    )
    return {
        part: _fetch(source, variant, folders, check)
        for part, source, variant, folders, check in named
        if source is not None
    }


def check_sources(base: str | Path | None, overrides: Overrides) -> None:
    """Raises ExportError where a base, a part or an adapter is named that is neither here nor a hub name:
    before another one is downloaded.
    """
    adapters = [str(adapter.folder) for adapter in overrides.adapters or ()]
    for source in (base, overrides.llm, overrides.vision, overrides.t2v, *adapters):
        if source is not None:
            try:
                find_source(source)
            except CheckpointError as error:
                raise ExportError(str(error)) from None


def _check_llm(folder: Path) -> None:
    """CheckpointError unless `folder`, of which the weights may be missing, is of a Llama or an mPLUG-Owl."""
    if is_video_language(folder) or not is_mplug_owl(folder):
        read_config(folder)


def adapters_of(run: Path | None, overrides: Overrides) -> Sequence[Adapter]:
    """Returns the adapters to merge: those of the user, or else the own of the folder `run`.

    ExportError: one does not exist or cannot be downloaded.
    """
    if overrides.adapters is not None:
        return [
            replace(adapter, folder=_fetch(str(adapter.folder), None, _FLAT))
            for adapter in overrides.adapters
        ]
    return [Adapter(run / "adapter")] if run is not None and (run / "adapter").is_dir() else []


def _fetch(source: str, variant: str | None, folders: Sequence[str], check: Check | None = None) -> Path:
    try:
        return fetch_source(source, variant, folders, check)
    except CheckpointError as error:
        raise ExportError(str(error)) from None
