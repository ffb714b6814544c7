"""The layout of a training run, and how its parts are read.

    RUN/g4v_train.json   what no configuration file says (below)
    RUN/encoder/         CLIPVisionModel.save_pretrained or MplugOwlVideoTower.save_pretrained;
                         preprocessor_config.json with image_mean and image_std where they are not CLIP's
    RUN/abstractor/      VideoAbstractor.save_pretrained
    RUN/frame_checker/   FrameChecker.save_pretrained (may be absent); it reads the encoder's tokens
    RUN/llm/             LlamaForCausalLM.save_pretrained, with its tokenizer
    RUN/adapter/         a PEFT LoRA folder (may be absent)
    RUN/t2v/             a diffusers text-to-video folder: unet/, vae/, text_encoder/, tokenizer/, scheduler/

encoder and abstractor may be absent together (an assistant without eyes), and so may t2v (one that sends no
videos). Weights may be stored in float16; everything is computed from them in float32.

g4v_train.json:
    name, assistant, description   texts of the manifest
    prompt                         PromptTemplate.to_manifest()
    frames                         frames sampled from a clip
    generation                     {"text": {...}, "video": {...}} as in the manifest, without the scheduler's
    settings;
                                   video may have "scheduler": {"type": "dpmsolver++"} to choose the sampler
    licences                       [{"component": ..., "licence": ...}]
    provenance                     free
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from g4v.export.errors import ExportError
from g4v.export.lora import merge_lora

from g4v.model.abstractor import VideoAbstractor
from g4v.model.frame_checker import FrameChecker
from g4v.model.prompt import PromptTemplate
from g4v.model.vision import VideoEncoder, load_encoder

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]

_KEYS = ("name", "assistant", "description", "prompt", "frames", "generation", "licences", "provenance")
_SCHEDULERS = {"DDIMScheduler": "ddim", "DPMSolverMultistepScheduler": "dpmsolver++"}
_SCHEDULER_DEFAULTS = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "timestep_spacing": "leading",
    "steps_offset": 0,
    "set_alpha_to_one": True,
    "clip_sample": True,
}


@dataclass
class Checkpoint:
    """A run whose description is read; models are loaded one by one, so that only one is held."""

    run: Path
    about: dict[str, Any]
    prompt: PromptTemplate

    @classmethod
    def open(cls, run: str | Path) -> Checkpoint:
        """Reads g4v_train.json and sees that the folders belong together. ExportError names what is wrong."""
        run = Path(run)
        about = read_json(run / "g4v_train.json")
        for key in _KEYS:
            if key not in about:
                raise ExportError(f"{run / 'g4v_train.json'}: {key!r} is missing")
        unknown = sorted(set(about) - set(_KEYS))
        if unknown:
            raise ExportError(f"{run / 'g4v_train.json'}: unknown key {unknown[0]!r}")
        try:
            prompt = PromptTemplate.from_manifest(about["prompt"])
        except TypeError as error:
            raise ExportError(f"{run / 'g4v_train.json'}: prompt: {error}") from None
        checkpoint = cls(run, about, prompt)
        if not checkpoint.has("llm") and not checkpoint.has("t2v"):
            raise ExportError(f"{run}: neither llm/ nor t2v/ is there: nothing to export")
        if checkpoint.has("encoder") != checkpoint.has("abstractor"):
            raise ExportError(f"{run}: encoder/ and abstractor/ must be there together")
        if checkpoint.has("frame_checker") and not checkpoint.has("encoder"):
            raise ExportError(f"{run}: encoder/ is missing: frame_checker/ reads its tokens")
        if checkpoint.has("encoder") and not checkpoint.has("llm"):
            raise ExportError(f"{run}: llm/ is missing: encoder and abstractor serve it")
        return checkpoint

    def has(self, part: str) -> bool:
        return (self.run / part).is_dir()

    def encoder(self) -> VideoEncoder:
        return self._load("encoder", lambda: load_encoder(self.run / "encoder")).float()

    def image_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of normalised pixels, per channel."""
        path = self.run / "encoder" / "preprocessor_config.json"
        if not path.exists():
            return CLIP_MEAN, CLIP_STD
        values = read_json(path)
        return values.get("image_mean", CLIP_MEAN), values.get("image_std", CLIP_STD)

    def abstractor(self) -> VideoAbstractor:
        return self._load("abstractor", lambda: VideoAbstractor.from_pretrained(self.run / "abstractor"))

    def frame_checker(self) -> FrameChecker:
        return self._load("frame_checker", lambda: FrameChecker.from_pretrained(self.run / "frame_checker"))

    def llm(self) -> Any:
        """LlamaForCausalLM in float32 with the adapter, if there is one, merged."""
        from transformers import LlamaForCausalLM

        model = self._load(
            "llm", lambda: LlamaForCausalLM.from_pretrained(self.run / "llm", dtype=torch.float32)
        )
        if self.has("adapter"):
            merge_lora(model, self.run / "adapter")
        return model.eval()

    def text_encoder(self) -> Any:
        from transformers import CLIPTextModel

        folder = self.run / "t2v" / "text_encoder"
        return self._load(
            "t2v/text_encoder", lambda: CLIPTextModel.from_pretrained(folder, dtype=torch.float32)
        )

    def unet(self) -> Any:
        from diffusers import UNet3DConditionModel

        folder = self.run / "t2v" / "unet"
        return self._load(
            "t2v/unet", lambda: UNet3DConditionModel.from_pretrained(folder, torch_dtype=torch.float32)
        )

    def vae(self) -> Any:
        from diffusers import AutoencoderKL

        folder = self.run / "t2v" / "vae"
        return self._load("t2v/vae", lambda: AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32))

    def tokenizer_folder(self, part: str) -> Path:
        """Where the tokenizer of "decoder" or "text_encoder" stands."""
        return self.run / ("llm" if part == "decoder" else "t2v/tokenizer")

    def tokenizer(self, part: str) -> Any:
        """The `transformers` fast tokenizer of "decoder" or "text_encoder"."""
        from transformers import AutoTokenizer

        folder = self.tokenizer_folder(part)
        return self._load(
            str(folder.relative_to(self.run)),
            lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True),
        )

    def scheduler(self) -> dict[str, Any]:
        """The manifest's scheduler object, from diffusers' scheduler_config.json."""
        path = self.run / "t2v" / "scheduler" / "scheduler_config.json"
        values = read_json(path)
        kind = values.get("_class_name")
        chosen = self.about["generation"].get("video", {}).get("scheduler", {}).get("type")
        if chosen is None and kind not in _SCHEDULERS:
            known = ", ".join(_SCHEDULERS)
            raise ExportError(f"{path}: scheduler {kind!r} is not supported (one of {known})")
        if values.get("trained_betas") or values.get("thresholding"):
            raise ExportError(f"{path}: trained_betas and thresholding are not supported")
        settings = {key: values.get(key, default) for key, default in _SCHEDULER_DEFAULTS.items()}
        return {"type": chosen or _SCHEDULERS[kind], **settings}

    def _load(self, part: str, load: Any) -> Any:
        try:
            return load()
        except Exception as error:  # each library has its own classes for damaged files
            reason = " ".join(str(error).split())[:300]
            raise ExportError(f"{self.run / part}: cannot be read: {reason}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; ExportError if the file is missing or holds something else."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read ({error})") from None
    if not isinstance(values, dict):
        raise ExportError(f"{path}: is not a JSON object")
    return values
