"""Fuzzers of configurations: scheduler, language model, text-to-video model, vision tower and abstractor.

The weights beside them are those of a small random run, and stay as they are.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from .mutation import Mutator


def random_run(work: Path) -> Path:
    """A folder with a run of small random weights. They are made once; the folder is a new copy of them."""
    from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint

    made, folder = work.parent / "random-run", work / "run"
    if not made.exists():
        write_random_checkpoint(work / "making")
        (work / "making").rename(made)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    return folder


class _Files:
    """An input is JSON: {"file": the place of a configuration in the folder, "text": what it holds}."""

    def __init__(self, folder: Path, places: list[str]) -> None:
        self._folder = folder
        self._texts = {place: (folder / place).read_text("utf-8") for place in places}

    def sound(self) -> bytes:
        place, text = next(iter(self._texts.items()))
        return json.dumps({"file": place, "text": text}).encode()

    def make(self, mutator: Mutator) -> bytes:
        place = mutator.random.choice(list(self._texts))
        changed = mutator.text(json.loads(self._texts[place]))
        return json.dumps({"file": place, "text": changed.decode("latin-1")}).encode()

    def run(self, data: bytes) -> None:
        value: dict[str, Any] = json.loads(data)
        place = self._folder / value["file"]
        place.write_bytes(value["text"].encode("latin-1", "replace"))
        try:
            self.read(value["file"], data)
        finally:
            place.write_text(self._texts[value["file"]], "utf-8")

    def read(self, place: str, data: bytes) -> None:
        raise NotImplementedError


class Scheduler(_Files):
    """scheduler_config.json, also with another sampler and any number of steps."""

    def __init__(self, work: Path) -> None:
        super().__init__(random_run(work) / "t2v", ["scheduler/scheduler_config.json"])

    def read(self, place: str, data: bytes) -> None:
        from g4v.export.checkpoint.samplers import SAMPLERS, sensible_samplers
        from g4v.export.checkpoint.scheduler import read_scheduler

        steps = (None, 1, 4, 50, len(data))[len(data) % 5]
        found = read_scheduler(self._folder, (None, *SAMPLERS)[len(data) % (1 + len(SAMPLERS))], steps)
        sensible_samplers(found)
        json.dumps(found, allow_nan=False)  # goes into the manifest


class Llama(_Files):
    """config.json of a language model, and whether its weights fit it."""

    def __init__(self, work: Path) -> None:
        super().__init__(random_run(work) / "llm", ["config.json"])

    def read(self, place: str, data: bytes) -> None:
        from g4v.model.bases.llama_files import LlamaFiles

        files = LlamaFiles(self._folder)
        name = next(iter(files.shapes))
        assert tuple(files.read(name).shape) == files.shapes[name]


class TextToVideo(_Files):
    """The configurations of text encoder, UNet and VAE, and whether their weights fit them."""

    def __init__(self, work: Path) -> None:
        parts = [f"{name}/config.json" for name in ("text_encoder", "unet", "vae")]
        super().__init__(random_run(work) / "t2v", parts)

    def read(self, place: str, data: bytes) -> None:
        from g4v.export.checkpoint.pipelines import check_text_to_video
        from g4v.export.checkpoint.text_to_video import check_weights
        from g4v.export.checkpoint.video_sizes import vae_scale

        check_text_to_video(self._folder)
        check_weights(self._folder)
        assert vae_scale(self._folder) >= 1


class Towers(_Files):
    """The configurations of encoder, abstractor and frame checker, which are loaded with their weights."""

    def __init__(self, work: Path) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModel

        folder = random_run(work)
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        clip = CLIPVisionConfig(**sizes, image_size=16, patch_size=8)
        CLIPVisionModel(clip).save_pretrained(folder / "clip")
        parts = ["encoder", "clip", "abstractor", "frame_checker"]
        super().__init__(folder, [f"{name}/config.json" for name in parts])

    def read(self, place: str, data: bytes) -> None:
        from g4v.model.bases.vision import check_abstractor, load_abstractor, load_frame_checker, load_vision

        folder = (self._folder / place).parent
        if folder.name in ("encoder", "clip"):
            load_vision(folder)
        elif folder.name == "abstractor":
            check_abstractor(folder)
            load_abstractor(folder)
        else:
            load_frame_checker(folder)
