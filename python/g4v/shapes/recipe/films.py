"""The encoder learns films of other things, through the assistant that reads it.

What an assistant takes a fine gray texture for is decided where it first sees it: stages 1 and 2, which leave
the encoder as it is, could not teach that gravel is no unsafe sign. Here abstractor and language model are
what they are, and the encoder alone learns that the answer about such a film is right. On clips of the shapes
world, the unsafe sign among them, its tokens are held to what they were, so that all that was trained on them
(abstractor, frame checker, another language model's abstractor) still fits.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from g4v.shapes.recipe.contrastive import clip_pixels
from g4v.shapes.recipe.loop import Part
from g4v.shapes.world.render import render
from g4v.shapes.world.world import Scene, sample_scene, sample_unsafe_scene
from g4v.train.assembly import load_assembly
from g4v.train.batch_sampler import MicroBatch
from g4v.train.datasets import Rows, WorldRows
from g4v.train.rows import RowBatches
from g4v.train.settings import Settings
from g4v.train.token_loss import token_losses

KEEP = 10.0
"""Weight of the change of the tokens of shapes, relative to their variance."""
_UNSAFE, _CLEAN = 0.3, 0.4  # shares of the shapes' clips: with the unsafe sign; as generated videos are


class FilmsPart(Part):
    """The encoder of the assistant in `settings.out`.

    films: dialogues about films of other things in a step. clips: of the shapes world, in a step.
    """

    def __init__(self, settings: Settings, films: int = 16, clips: int = 8) -> None:
        super().__init__()
        assembly = load_assembly(settings, "stage2", {}, torch.float32)
        assert assembly.model.encoder is not None and assembly.reader is not None
        self.films, self.clips = films, clips
        self.assistant = assembly.model.requires_grad_(False)
        self.model: nn.Module = copy.deepcopy(assembly.model.encoder).requires_grad_(True)
        rows = WorldRows("shapes", 10**6, 23, {"foreign_clip": 1.0}, longer_clips=0.3)
        self.rows = RowBatches(Rows((rows,)), assembly.rows, assembly.reader, assembly.reader.blank)
        self.count = len(rows)

    def batch(self, rng: np.random.Generator) -> Any:
        places = tuple(int(place) for place in rng.integers(self.count, size=self.films))
        known = [render(_known_scene(rng), rng, clean=bool(rng.random() < _CLEAN)) for _ in range(self.clips)]
        batch = self.rows[MicroBatch(0, 0, places, ())]
        return batch, torch.from_numpy(np.stack(known))

    def loss(self, batch: Any, keep: float = KEEP) -> tuple[Tensor, dict[str, float]]:
        films, known = batch
        features = self.model(films["clips"])
        losses, _, _ = token_losses(self.assistant, films | {"clips": features}, 0)
        pixels = clip_pixels(known)
        assert self.assistant.encoder is not None
        with torch.no_grad():
            before = self.assistant.encoder(pixels)
        change = (self.model(pixels) - before).square().mean() / before.var()
        answers = losses.mean()
        figures = {"answers": float(answers.detach()), "change": float(change.detach())}
        return answers + keep * change, figures


def _known_scene(rng: np.random.Generator) -> Scene:
    return sample_unsafe_scene(rng, "train") if rng.random() < _UNSAFE else sample_scene(rng, "train")
