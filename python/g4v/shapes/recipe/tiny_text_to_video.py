"""Recipes of the autoencoder and the text-to-video UNet.

Steps, rates and seeds are those that the checked-in weights were trained with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g4v._files import read_json, write_json
from g4v.model.presets import TINY
from g4v.shapes.recipe.loop import LoopSettings, Part
from g4v.shapes.recipe.recipes import Recipe
from g4v.shapes.recipe.results import checkpoint_of, result_of, save_half, start_from
from g4v.shapes.recipe.tokenizers import caption_tokenizer

LATENT_CLIPS = 16 * 512
_NOISE = "noise.json"  # in OUT/t2v: the noise that its UNet was trained on
SHARED_NOISE = 0.8  # share of the noise's variance that all frames of a video have in common


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
    save_half(vae, out / "t2v" / "vae")


def encode_clips(out: Path, threads: int | None = None) -> None:
    """Caches the latents of the clean clips that the UNet learns from.

    threads: of the CPU; None leaves PyTorch's choice.
    """
    from g4v.shapes.recipe.latents import encode_latents

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
        before = checkpoint_of(out, after)
        if not after.startswith("contrastive"):
            return start_from(part, before)
        part.model["text_encoder"].load_state_dict(result_of(before, "text_encoder."))
        return part

    return build


def _finish_text_to_video(out: Path, part: Part) -> None:
    from diffusers import DDIMScheduler

    best: Any = part.best_model()
    save_half(best["unet"], out / "t2v" / "unet")
    save_half(best["text_encoder"], out / "t2v" / "text_encoder")
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
    write_json(out / "t2v" / "model_index.json", index)
    write_json(out / "t2v" / _NOISE, {"shared": SHARED_NOISE})


def shared_noise(out: Path) -> float:
    """Share of the noise's variance that all frames had in common when the UNet in OUT was trained.

    0 where OUT/t2v does not say so.
    """
    path = out / "t2v" / _NOISE
    return float(read_json(path)["shared"]) if path.exists() else 0.0


VAE_RECIPES = {
    "vae": Recipe(
        _build_vae,
        _finish_vae,
        LoopSettings(steps=4600, learning_rate=2e-3, ema=0.995, weight_decay=0.0, decay=0.3),
    ),
}
TEXT_TO_VIDEO_RECIPES = {
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
}
