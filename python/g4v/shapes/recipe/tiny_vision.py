"""Recipes of encoder, text encoder and frame checker.

Steps, rates and seeds are those that the checked-in weights were trained with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from g4v.model.presets import TINY
from g4v.shapes.recipe.loop import LoopSettings, Part
from g4v.shapes.recipe.recipes import Recipe, write_nothing
from g4v.shapes.recipe.results import checkpoint_of, round_to_half, start_from
from g4v.shapes.recipe.tokenizers import caption_tokenizer


def _contrastive(frames: int, clips: int, captions: int, after: str | None) -> Callable[[Path], Part]:
    def build(out: Path) -> Part:
        from g4v.shapes.recipe.contrastive import ContrastivePart

        part = ContrastivePart(TINY, caption_tokenizer(), frames, clips, captions)
        return start_from(part, checkpoint_of(out, after)) if after else part

    return build


def _finish_contrastive(out: Path, part: Part) -> None:
    towers: Any = part.best_model()
    round_to_half(towers.encoder)
    towers.encoder.save_pretrained(out / "encoder", torch.float16)


def _build_frame_checker(out: Path) -> Part:
    from g4v.model.vision import load_encoder
    from g4v.shapes.recipe.frame_checker import FrameCheckerPart

    encoder = load_encoder(out / "encoder").float()
    return FrameCheckerPart(encoder, encoder.hidden_size)


def _finish_frame_checker(out: Path, part: Part) -> None:
    checker: Any = round_to_half(part.best_model())
    checker.save_pretrained(out / "frame_checker", torch.float16)


def _build_films(out: Path) -> Part:
    from g4v.shapes.recipe.films import FilmsPart
    from g4v.shapes.recipe.tiny_stages import stage_settings

    return FilmsPart(stage_settings(out, "stage2"))


def _finish_films(out: Path, part: Part) -> None:
    """Saves the encoder; what was trained on the one before fits it too."""
    from g4v.train.fingerprints import fingerprint_folder
    from g4v.train.trainable_modules import hand_over

    encoder: Any = round_to_half(part.best_model())
    before = fingerprint_folder(out / "encoder")
    encoder.save_pretrained(out / "encoder", torch.float16)
    for name in ("abstractor", "adapter"):
        hand_over(out / name, "encoder", before, fingerprint_folder(out / "encoder"))


VISION_RECIPES = {
    "contrastive-images": Recipe(
        _contrastive(1, 112, 32, None),
        write_nothing,
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
}
FILMS_RECIPES = {
    "encoder-films": Recipe(
        _build_films,
        _finish_films,
        LoopSettings(
            steps=1100, learning_rate=6e-4, warmup=30, ema=0.99, weight_decay=0.0, seed=41, decay=0.6
        ),
    ),
}
