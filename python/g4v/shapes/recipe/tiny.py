"""The embedded default's training, part by part, in the order in which `python -m g4v.train tiny` runs them.

work/PART in OUT holds a part's checkpoints and logs; the finished parts stand in OUT in the layout that
`python -m g4v.export --checkpoint OUT` reads. Weights are kept as float16: half the size, and exact from then
on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from g4v.errors import ArgumentError
from g4v.model.config import TINY
from g4v.model.prompt import PromptTemplate, default_system
from g4v.shapes.recipe.loop import LoopSettings, Part, run
from g4v.shapes.recipe.mixture import STAGE1, STAGE2
from g4v.shapes.recipe.tokenizers import (
    BOS_ID,
    EOS_ID,
    caption_tokenizer,
    load_tokenizer,
    train_byte_level_bpe,
)

if TYPE_CHECKING:
    from g4v.shapes.recipe.language import BaseLanguagePart

VOCABULARY = 1536
LATENT_CLIPS = 16 * 512
FRAMES_PER_SECOND = 8
_NOISE = "noise.json"  # in OUT/t2v: the noise that its UNet was trained on
SHARED_NOISE = 0.8  # share of the noise's variance that all frames of a video have in common


@dataclass(frozen=True)
class Recipe:
    """How a part is trained: `build` makes it from OUT, `finish` writes what others read into OUT."""

    build: Callable[[Path], Part]
    finish: Callable[[Path, Part], None]
    settings: LoopSettings


def _half(module: nn.Module) -> nn.Module:
    """Rounds the weights to float16 values in place."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.half().float())
    return module


def _save_half(model: Any, folder: Path) -> None:
    """`save_pretrained` of a transformers or diffusers model with float16 storage, whole or not at all."""
    import copy

    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    copy.deepcopy(model).half().save_pretrained(temporary, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _result(checkpoint: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    """The weights that a run ended with, below `prefix`: the averaged ones where it kept them."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    for root in ("average.module.", "model."):
        start = root + prefix
        weights = {name[len(start) :]: tensor for name, tensor in state.items() if name.startswith(start)}
        if weights:
            return weights
    raise ArgumentError(f"{checkpoint} holds no weights of a run; delete its folder and train it again")


def _start_from(part: Part, checkpoint: Path) -> Part:
    """Starts a part from the result of another run."""
    part.model.load_state_dict(_result(checkpoint))
    return part


# ---- encoder and text encoder ------------------------------------------------------------------------------


def _contrastive(frames: int, clips: int, captions: int, after: str | None) -> Callable[[Path], Part]:
    def build(out: Path) -> Part:
        from g4v.shapes.recipe.contrastive import ContrastivePart

        part: Part = ContrastivePart(TINY, caption_tokenizer(), frames, clips, captions)
        return _start_from(part, out / "work" / after / "last.ckpt") if after else part

    return build


def _finish_contrastive(out: Path, part: Part) -> None:
    towers: Any = part.best_model()
    encoder = _half(towers.encoder)
    encoder.save_pretrained(out / "encoder", torch.float16)


def _build_frame_checker(out: Path) -> Part:
    from g4v.model.vision import load_encoder
    from g4v.shapes.recipe.frame_checker import FrameCheckerPart

    encoder = load_encoder(out / "encoder").float()
    return FrameCheckerPart(encoder, encoder.hidden_size)


def _finish_frame_checker(out: Path, part: Part) -> None:
    checker: Any = _half(part.best_model())
    checker.save_pretrained(out / "frame_checker", torch.float16)


# ---- text to video -----------------------------------------------------------------------------------------


def _build_vae(out: Path) -> Part:
    from g4v.shapes.recipe.vae import VaePart

    return VaePart(TINY)


def _finish_vae(out: Path, part: Part) -> None:
    """Saves the autoencoder with the scale that gives its latents unit variance."""
    vae: Any = part.best_model()
    squares = []
    with torch.no_grad():
        for step in range(20):
            images = part.batch(np.random.default_rng([1, step])).permute(0, 3, 1, 2).float() / 127.5 - 1
            squares.append(vae.encode(images).latent_dist.mean.square().mean())
    vae.register_to_config(scaling_factor=round(float(1 / torch.stack(squares).mean().sqrt()), 5))
    _save_half(vae, out / "t2v" / "vae")


def encode_clips(out: Path, threads: int | None = None) -> None:
    """Caches the latents of the clean clips that the UNet learns from; `threads` as in LoopSettings."""
    from g4v.shapes.recipe.text_to_video import encode_latents

    if threads:
        torch.set_num_threads(threads)
    encode_latents(_vae(out), out / "work" / "latents", LATENT_CLIPS, seed=11)


def _vae(out: Path) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(
        out / "t2v" / "vae", torch_dtype=torch.float32, local_files_only=True
    ).eval()


def _text_to_video(frames: int, clips: int, after: str) -> Callable[[Path], Part]:
    def build(out: Path) -> Part:
        from g4v.shapes.recipe.text_to_video import TextToVideoPart

        part = TextToVideoPart(
            TINY,
            caption_tokenizer(),
            out / "work" / "latents",
            _vae(out).config.scaling_factor,
            frames,
            clips,
            SHARED_NOISE,
        )
        before = out / "work" / after / "last.ckpt"
        if not after.startswith("contrastive"):
            return _start_from(part, before)
        part.model["text_encoder"].load_state_dict(_result(before, "text_encoder."))
        return part

    return build


def _finish_text_to_video(out: Path, part: Part) -> None:
    from diffusers import DDIMScheduler

    best: Any = part.best_model()
    _save_half(best["unet"], out / "t2v" / "unet")
    _save_half(best["text_encoder"], out / "t2v" / "text_encoder")
    caption_tokenizer().save_pretrained(out / "t2v" / "tokenizer")
    DDIMScheduler.from_config(TINY.scheduler).save_pretrained(out / "t2v" / "scheduler")
    index = {
        "_class_name": "TextToVideoSDPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet3DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (out / "t2v" / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")
    (out / "t2v" / _NOISE).write_text(json.dumps({"shared": SHARED_NOISE}) + "\n", "utf-8")


# ---- language ----------------------------------------------------------------------------------------------


def _tokenizer(out: Path) -> Any:
    """The language model's tokenizer, trained once."""
    folder = out / "work" / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        from g4v.shapes.dialogues import iter_corpus_for_tokenizer

        system = default_system("g4v")
        texts = [system] * 50 + list(iter_corpus_for_tokenizer(20_000, seed=5))
        train_byte_level_bpe(texts, VOCABULARY).save_pretrained(folder)
    return load_tokenizer(folder)


def template() -> PromptTemplate:
    from g4v.shapes.dialogues import REFUSAL_OPENINGS

    return PromptTemplate(
        turn_end_id=EOS_ID,
        bos_id=BOS_ID,
        system=default_system("g4v"),
        refusal_openings=tuple(REFUSAL_OPENINGS),
    )


def _language_part(out: Path, kind: type[BaseLanguagePart]) -> Part:
    from transformers import LlamaForCausalLM

    tokenizer = _tokenizer(out)
    config = TINY.llama_config(len(tokenizer), bos_token_id=BOS_ID, eos_token_id=EOS_ID, pad_token_id=0)
    return kind(LlamaForCausalLM(config), tokenizer, template())


def _build_bindings(out: Path) -> Part:
    from g4v.shapes.recipe.language import BindingsPart

    return _language_part(out, BindingsPart)


def _build_base(out: Path) -> Part:
    from g4v.shapes.recipe.language import BaseLanguagePart

    return _start_from(_language_part(out, BaseLanguagePart), out / "work" / "bindings" / "last.ckpt")


def _finish_base(out: Path, part: Part) -> None:
    best: Any = part.best_model()
    _save_half(best, out / "llm")
    _tokenizer(out).save_pretrained(out / "llm")


def _finish_stage1(out: Path, part: Part) -> None:
    abstractor = part.best_model().abstractor  # type: ignore[union-attr]
    _half(abstractor).save_pretrained(out / "abstractor", torch.float16)  # type: ignore[operator]


def _build_stage1(out: Path) -> Part:
    from g4v.model.abstractor import VideoAbstractor
    from g4v.model.assistant import Gpt4Video
    from g4v.shapes.recipe.language import AbstractorPart

    assistant = Gpt4Video.from_checkpoint(out, adapter=False)
    assistant.abstractor = VideoAbstractor(TINY.abstractor)
    return AbstractorPart(assistant, _tokenizer(out), template(), kinds=STAGE1, rows=16)


def _build_stage2(out: Path) -> Part:
    from peft import LoraConfig, get_peft_model

    from g4v.model.assistant import Gpt4Video
    from g4v.shapes.recipe.language import AdapterPart

    assistant = Gpt4Video.from_checkpoint(out, adapter=False)
    llm: Any = assistant.llm
    assistant.llm = get_peft_model(llm, LoraConfig(task_type="CAUSAL_LM", **TINY.lora))
    return AdapterPart(assistant, _tokenizer(out), template(), kinds=STAGE2, rows=16)


def _finish_stage2(out: Path, part: Part) -> None:
    best: Any = part.best_model()
    best.llm.peft_config["default"].base_model_name_or_path = "../llm"
    best.llm.save_pretrained(out / "adapter")
    (out / "adapter" / "README.md").unlink(missing_ok=True)  # a model card of empty headings


RECIPES: dict[str, Recipe] = {
    "vae": Recipe(
        _build_vae,
        _finish_vae,
        LoopSettings(steps=4600, learning_rate=2e-3, ema=0.995, weight_decay=0.0, decay=0.3),
    ),
    "contrastive-images": Recipe(
        _contrastive(1, 112, 32, None),
        lambda out, part: None,
        LoopSettings(steps=1500, learning_rate=2e-3, ema=0.99, weight_decay=0.02, decay=0.0, muon=True),
    ),
    "contrastive-clips": Recipe(
        _contrastive(8, 16, 8, "contrastive-images"),
        _finish_contrastive,
        LoopSettings(steps=4600, learning_rate=1.5e-3, ema=0.995, weight_decay=0.02, seed=1, muon=True),
    ),
    "frame-checker": Recipe(
        _build_frame_checker,
        _finish_frame_checker,
        LoopSettings(steps=250, learning_rate=1e-2, warmup=20, ema=None, seed=10, decay=0.5),
    ),
    "t2v-images": Recipe(
        _text_to_video(1, 64, "contrastive-images"),
        _finish_text_to_video,
        LoopSettings(
            steps=1200, learning_rate=2e-3, ema=0.99, weight_decay=0.5, seed=2, decay=0.0, muon=True
        ),
    ),
    "t2v-pairs": Recipe(
        _text_to_video(2, 48, "t2v-images"),
        _finish_text_to_video,
        LoopSettings(
            steps=2000, learning_rate=1.5e-3, ema=0.995, weight_decay=0.5, seed=8, decay=0.0, muon=True
        ),
    ),
    "t2v-fours": Recipe(
        _text_to_video(4, 24, "t2v-pairs"),
        _finish_text_to_video,
        LoopSettings(
            steps=800, learning_rate=1.5e-3, ema=0.995, weight_decay=0.5, seed=9, decay=0.0, muon=True
        ),
    ),
    "t2v": Recipe(
        _text_to_video(8, 16, "t2v-fours"),
        _finish_text_to_video,
        LoopSettings(
            steps=4250, learning_rate=1.5e-3, ema=0.995, weight_decay=0.5, seed=3, decay=0.4, muon=True
        ),
    ),
    "bindings": Recipe(
        _build_bindings,
        lambda out, part: None,
        LoopSettings(steps=900, learning_rate=1.5e-3, ema=None, seed=12, warmup=50, decay=0.0, muon=True),
    ),
    "base": Recipe(
        _build_base,
        _finish_base,
        LoopSettings(steps=22000, learning_rate=8e-4, ema=None, seed=4, warmup=200, decay=0.15, muon=True),
    ),
    "stage1": Recipe(
        _build_stage1,
        _finish_stage1,
        LoopSettings(steps=3400, learning_rate=1e-3, ema=0.99, seed=5, decay=0.5, muon=True),
    ),
    "stage2": Recipe(
        _build_stage2,
        _finish_stage2,
        LoopSettings(steps=2550, learning_rate=2e-3, ema=None, seed=6, decay=0.5),
    ),
}


def _steps_done(out: Path, name: str) -> int:
    """Optimiser steps in the part's last checkpoint, 0 without one."""
    last = out / "work" / name / "last.ckpt"
    return int(torch.load(last, map_location="cpu", weights_only=True)["global_step"]) if last.exists() else 0


def _shared_noise(out: Path) -> float:
    """What the UNet in OUT was trained on; nothing shared where it does not say so."""
    path = out / "t2v" / _NOISE
    return float(json.loads(path.read_text("utf-8"))["shared"]) if path.exists() else 0.0


def describe(out: Path) -> None:
    """Writes OUT/g4v_train.json: what the exporter has to know beside the weights."""
    provenance = {
        "command": "python -m g4v.train tiny --out runs/tiny",
        "data": "the shapes world and its dialogues, generated by g4v.data.shapes; nothing else",
        "parts": {
            name: {"steps_done": _steps_done(out, name), "steps_planned": recipe.settings.steps}
            for name, recipe in RECIPES.items()
        },
    }
    about = {
        "name": "tiny",
        "assistant": "g4v",
        "description": "The embedded default: an assistant that knows one small world of moving shapes.",
        "prompt": template().to_manifest(),
        "frames": TINY.frames,
        "generation": {
            "text": {
                "max_new_tokens": 128, "temperature": 0.0, "top_k": 0, "top_p": 1.0,
                "repetition_penalty": 1.0,
            },
            "video": {
                "frames": 8, "width": 64, "height": 64, "fps": FRAMES_PER_SECOND, "steps": 20,
                "guidance_scale": 2.0, "negative_prompt": "", "shared_noise": _shared_noise(out),
                "scheduler": {"type": "ddim"},
            },
        },
        "licences": [{"component": "all", "licence": "Apache-2.0"}],
        "provenance": provenance,
    }  # fmt: skip
    temporary = out / "g4v_train.json.tmp"
    temporary.write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    temporary.replace(out / "g4v_train.json")


def train_part(out: Path, name: str, progress: bool = True, **changes: Any) -> bool:
    """Trains one part and writes its result into OUT; True when all its steps are done.

    changes: fields of LoopSettings to use in place of the recipe's (steps, minutes, threads, seed, ...).
    """
    recipe = RECIPES[name]
    settings = replace(recipe.settings, **{k: v for k, v in changes.items() if v is not None})
    torch.manual_seed(settings.seed)
    out.mkdir(parents=True, exist_ok=True)
    part = recipe.build(out)
    done = run(part, name, out / "work" / name, settings, progress)
    recipe.finish(out, part)
    describe(out)
    return done
