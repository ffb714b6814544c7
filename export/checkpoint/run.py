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
videos). Weights may be stored in float16; everything is computed from them in float32, though large ones stay
in float16 until they are written. Parts may also stand elsewhere (g4v.export.checkpoint.overrides).

g4v_train.json:
    name, assistant, description   texts of the manifest
    prompt                         PromptTemplate.to_manifest()
    frames                         frames sampled from a clip
    generation                     {"text": {...}, "video": {...}} as in the manifest, without the scheduler's
                                   settings; video may have "scheduler": {"type": "dpmsolver++"} to choose
                                   the sampler
    licences                       [{"component": ..., "licence": ...}]
    provenance                     free; "llm" is the name of a language model that is not in the run and must
                                   be named (Sources)
    parts                          may be absent: {"encoder": "../other/encoder", ...}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from g4v.export.checkpoint.lora import Adapter
from g4v.export.checkpoint.overrides import NONE, Sources, adapters_of, locate
from g4v.export.errors import ExportError
from g4v.model.abstractor import VideoAbstractor
from g4v.model.frame_checker import FrameChecker
from g4v.model.prompt import PromptTemplate
from g4v.model.vision import VideoEncoder

if TYPE_CHECKING:
    from g4v.export.checkpoint.llama import LlamaWeights

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
    parts: dict[str, Path]  # folder of each part, or the GGUF file of "llm"
    adapters: Sequence[Adapter]

    @classmethod
    def open(cls, run: str | Path, sources: Sources = NONE) -> Checkpoint:
        """Reads g4v_train.json and sees that the folders belong together. ExportError names what is wrong."""
        run = Path(run)
        about = read_json(run / "g4v_train.json")
        for key in _KEYS:
            if key not in about:
                raise ExportError(f"{run / 'g4v_train.json'}: {key!r} is missing")
        unknown = sorted(set(about) - set(_KEYS) - {"parts"})
        if unknown:
            raise ExportError(f"{run / 'g4v_train.json'}: unknown key {unknown[0]!r}")
        try:
            prompt = PromptTemplate.from_manifest(about["prompt"])
        except TypeError as error:
            raise ExportError(f"{run / 'g4v_train.json'}: prompt: {error}") from None
        parts = locate(run, about.get("parts", {}), sources)
        if "t2v" not in parts and (sources.frames, sources.video_size) != (None, None):
            raise ExportError(
                f"{run}: t2v/ is missing: frames and size are those of the videos that it makes"
            )
        sources.put_video(about)
        if sources.video_size is not None:
            scale = vae_scale(parts["t2v"])
            if any(side % scale for side in sources.video_size):
                raise ExportError(f"videos of this t2v have a width and height in multiples of {scale}")
        checkpoint = cls(run, about, prompt, parts, adapters_of(run, sources))
        if not checkpoint.has("llm") and not checkpoint.has("t2v"):
            raise ExportError(f"{run}: neither llm/ nor t2v/ is there: nothing to export")
        if checkpoint.has("encoder") != checkpoint.has("abstractor"):
            raise ExportError(f"{run}: encoder/ and abstractor/ must be there together")
        if checkpoint.has("frame_checker") and not checkpoint.has("encoder"):
            raise ExportError(f"{run}: encoder/ is missing: frame_checker/ reads its tokens")
        base = about["provenance"].get("llm") if isinstance(about["provenance"], dict) else None
        if base is not None and not checkpoint.has("llm"):
            raise ExportError(
                f"{run}: its language model, {base}, is not stored with it: name a folder or a GGUF file "
                "(--llm)"
            )
        if checkpoint.has("encoder") and not checkpoint.has("llm"):
            raise ExportError(f"{run}: llm/ is missing: encoder and abstractor serve it")
        if checkpoint.adapters and not checkpoint.has("llm"):
            raise ExportError(f"{run}: llm/ is missing: the adapter changes it")
        return checkpoint

    def has(self, part: str) -> bool:
        return part in self.parts

    def files(self) -> list[Path]:
        """Everything that the bundle is made from: files and folders."""
        return [
            self.run / "g4v_train.json",
            *self.parts.values(),
            *(adapter.folder for adapter in self.adapters),
        ]

    def encoder(self) -> VideoEncoder:
        from g4v.model.bases.vision import load_vision

        return self._load(self.parts["encoder"], load_vision).float()

    def image_size(self) -> int:
        """Edge of the encoder's square input, pixels."""
        return int(self._vision().get("image_size", 224))

    def tokens_per_frame(self) -> int:
        """Of the encoder."""
        return int((self.image_size() // int(self._vision().get("patch_size", 32))) ** 2 + 1)

    def _vision(self) -> dict[str, Any]:
        config = read_json(self.parts["encoder"] / "config.json")
        found: dict[str, Any] = config.get("vision_config", config)  # of both halves of a CLIP model
        return found

    def image_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of normalised pixels, per channel."""
        path = self.parts["encoder"] / "preprocessor_config.json"
        if not path.exists():
            return CLIP_MEAN, CLIP_STD
        values = read_json(path)
        return values.get("image_mean", CLIP_MEAN), values.get("image_std", CLIP_STD)

    def abstractor(self) -> VideoAbstractor:
        return self._load(self.parts["abstractor"], VideoAbstractor.from_pretrained)

    def frame_checker(self) -> FrameChecker:
        return self._load(self.parts["frame_checker"], FrameChecker.from_pretrained)

    def llm(self) -> LlamaWeights:
        """The language model's weights, which stay in their files, with the adapters merged."""
        return self._llm

    @cached_property
    def _llm(self) -> LlamaWeights:
        from g4v.export.checkpoint.llama import LlamaWeights

        return LlamaWeights(self.parts["llm"], self.adapters)

    def text_encoder(self) -> Any:
        from transformers import CLIPTextModel

        place = self.parts["t2v"] / "text_encoder"
        return self._load(
            place, CLIPTextModel.from_pretrained, dtype=_stored_type(place), use_safetensors=True
        )

    def unet(self) -> Any:
        from diffusers import UNet3DConditionModel

        place = self.parts["t2v"] / "unet"
        return self._load(
            place, UNet3DConditionModel.from_pretrained, torch_dtype=_stored_type(place), use_safetensors=True
        )

    def vae(self) -> Any:
        from diffusers import AutoencoderKL

        place = self.parts["t2v"] / "vae"
        return self._load(
            place, AutoencoderKL.from_pretrained, torch_dtype=_stored_type(place), use_safetensors=True
        )

    def tokenizer(self, part: str) -> Any:
        """The `transformers` fast tokenizer of "decoder" or "text_encoder"."""
        from transformers import AutoTokenizer

        from g4v.model.bases.llm import load_tokenizer

        if part == "decoder" and self.parts["llm"].is_file():
            return self._load(self.parts["llm"], load_tokenizer)
        folder = self.tokenizer_source(part)
        return self._load(folder, AutoTokenizer.from_pretrained, local_files_only=True, use_fast=True)

    def tokenizer_source(self, part: str) -> Any:
        """What `write_tokenizer` takes for "decoder" or "text_encoder": a folder, or the tokenizer itself."""
        if part != "decoder":
            return self.parts["t2v"] / "tokenizer"
        return self.parts["llm"] if self.parts["llm"].is_dir() else self.tokenizer(part)

    def scheduler(self) -> dict[str, Any]:
        """The manifest's scheduler object, from diffusers' scheduler_config.json."""
        path = self.parts["t2v"] / "scheduler" / "scheduler_config.json"
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

    @staticmethod
    def _load(place: Path, load: Any, **options: Any) -> Any:
        """ExportError: files that are damaged, or weights that are not finite."""
        try:
            found = load(place, **options)
        except Exception as error:  # each library has its own classes for damaged files
            reason = " ".join(str(error).split())[:300].removeprefix(f"{place}: ")
            raise ExportError(f"{place}: cannot be read: {reason}") from None
        if isinstance(found, torch.nn.Module):
            for name, weight in found.named_parameters():
                if not all(torch.isfinite(end) for end in weight.detach().aminmax()):
                    raise ExportError(f"{place}: {name} holds numbers that are not finite")
        return found


def vae_scale(t2v: Path) -> int:
    """Pixels for one latent, in height and width."""
    return 2 ** (len(read_json(t2v / "vae" / "config.json")["block_out_channels"]) - 1)


def _stored_type(folder: Path) -> torch.dtype:
    """float16 where all weights of a folder are stored so, float32 otherwise."""
    from safetensors import safe_open

    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt") as opened:
                names = opened.keys()
                if any(opened.get_slice(name).get_dtype() != "F16" for name in names):
                    return torch.float32
        except Exception:  # whoever loads the file says what is wrong with it
            return torch.float32
    return torch.float16


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
