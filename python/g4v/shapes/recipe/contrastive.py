"""The encoder and the text encoder, trained together contrastively.

First on single frames, where colour, shape and background are learned from many different pictures, then on
clips, where the temporal blocks learn motion. Every clip is told from the other captions of the batch, from
its own caption with one word changed, and, attribute by attribute, from all phrases of that attribute. The
patches on an object are told apart in the same way by that object's own phrases (region-level contrast, Zhong
et al., 2022), and tell its outline and its way (regions.py). A part of the clips is crowded, for the regions'
sake alone: more objects for the same work of the encoder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from g4v.model.presets import Preset
from g4v.shapes.recipe.loop import Part
from g4v.shapes.recipe.regions import find_regions
from g4v.shapes.recipe.tokenizers import encode_captions
from g4v.shapes.recipe.towers import TwoTowers, whiten_patches
from g4v.shapes.world.render import render, render_with_things
from g4v.shapes.world.world import (
    BACKGROUNDS,
    COLOURS,
    MOTION_PHRASES,
    MOTIONS,
    SHAPES,
    Object,
    Scene,
    article,
    caption,
    sample_object,
    sample_scene,
)

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_COUNTS = ("one object", "two objects", "no shape")  # the last one is taken for 0 - 1
_SIGN = ("no skull sign", "a skull sign")
_ATTRIBUTES: tuple[tuple[str, ...], ...] = (
    COLOURS,
    SHAPES,
    tuple(MOTION_PHRASES[m] for m in MOTIONS),
    tuple(f"a {b} background" for b in BACKGROUNDS),
    _COUNTS,
    _SIGN,
)
_MOTION = 2  # index of the attribute that a single frame does not show
_NAMES = ("colour", "shape", "motion", "background", "count", "sign")
_OBJECT_ATTRIBUTES = 3  # the first ones belong to objects, not to the clip


def clip_pixels(frames: Tensor) -> Tensor:
    """The encoder's input, float32 [B, T, 3, S, S], of frames uint8 [B, T, S, S, 3]: normalised as CLIP's."""
    mean, std = (torch.tensor(values, device=frames.device).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (frames.permute(0, 1, 4, 2, 3).float() / 255 - mean) / std


def scene_text(scene: Scene, motion: bool = True) -> str:
    """The caption of a scene, also of an unsafe or a foreign one.

    motion: whether it names motions, which single frames do not show.
    """
    if scene.foreign:
        return "a film without shapes"
    if motion and not scene.skull:
        return caption(scene)
    parts = ["a skull sign"] if scene.skull else []
    for obj in scene.objects:
        words = f"{article(obj.colour)} {obj.colour} {obj.shape}"
        parts.append(f"{words} {MOTION_PHRASES[obj.motion]}" if motion else words)
    return " and ".join(parts) + f" on a {scene.background} background"


def _other(rng: np.random.Generator, items: tuple[str, ...], value: str) -> str:
    return str(rng.choice([item for item in items if item != value]))


def _changed(scene: Scene, rng: np.random.Generator, motion: bool) -> Scene:
    """The scene with one fact changed, or with the attributes of its two objects exchanged."""
    if not scene.objects or rng.random() < 0.1:
        return replace(scene, background=_other(rng, BACKGROUNDS, scene.background or ""))
    objects = list(scene.objects)
    field = str(rng.choice(("colour", "shape", "motion") if motion else ("colour", "shape")))
    values = {"colour": COLOURS, "shape": SHAPES, "motion": MOTIONS}[field]
    which = int(rng.integers(len(objects)))
    if len(objects) == 2 and getattr(objects[0], field) != getattr(objects[1], field) and rng.random() < 0.5:
        first, second = (getattr(obj, field) for obj in objects)
        objects = [replace(objects[0], **{field: second}), replace(objects[1], **{field: first})]
    else:
        objects[which] = replace(
            objects[which], **{field: _other(rng, values, getattr(objects[which], field))}
        )
    return replace(scene, objects=tuple(objects))


def sample_unsafe_scene(rng: np.random.Generator) -> Scene:
    """A clip with the skull sign and none or one object."""
    objects: tuple[Object, ...] = sample_scene(rng, "train", objects=1).objects if rng.random() < 0.6 else ()
    return Scene(objects, BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))], skull=True)


def _crowded_scene(rng: np.random.Generator) -> Scene:
    """Three to five objects, more than a caption names."""
    objects = tuple(sample_object(rng, "train") for _ in range(int(rng.integers(3, 6))))
    return Scene(objects, BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))])


class ContrastivePart(Part):
    """Encoder and text encoder, trained contrastively on `clips` clips a step.

    frames: of a clip; 1 for the first run on pictures, 8 for the second one on clips. captions: so many of
    the clips are scenes with a caption; the others are crowded.
    """

    def __init__(self, preset: Preset, tokenizer: Any, frames: int, clips: int, captions: int) -> None:
        super().__init__()
        from transformers import CLIPTextModel

        from g4v.model.vision import build_encoder

        text = CLIPTextModel(
            preset.text_config(len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=0)
        )
        encoder = build_encoder(preset.encoder_config())
        self.patch = int(preset.encoder["patch_size"])
        self.model = TwoTowers(
            encoder, text, preset.encoder["hidden_size"], preset.text_encoder["hidden_size"], self.patch
        )
        self.tokenizer, self.frames, self.clips = tokenizer, frames, clips
        self.captions = captions
        self.length = int(preset.text_encoder["max_position_embeddings"])
        phrases = [phrase for attribute in _ATTRIBUTES for phrase in attribute]
        if frames == 1:
            rng = np.random.default_rng(0)
            pictures = [render(sample_scene(rng, "train"), rng, frames=2) for _ in range(200)]
            whiten_patches(encoder, clip_pixels(torch.from_numpy(np.stack(pictures))))
        self.phrase_ids: Tensor
        self.register_buffer("phrase_ids", encode_captions(tokenizer, phrases, self.length), persistent=False)

    def batch(self, rng: np.random.Generator) -> Any:
        moving = self.frames > 1
        captioned = [
            self._rare(rng) if rng.random() < 0.14 else sample_scene(rng, "train")
            for _ in range(self.captions)
        ]
        scenes = captioned + [_crowded_scene(rng) for _ in range(self.clips - self.captions)]
        drawn = [render_with_things(scene, rng, frames=self.frames) for scene in scenes]
        frames = [clip for clip, _ in drawn]
        texts = [scene_text(scene, moving) for scene in captioned]
        wrong = [scene_text(_changed(scene, rng, moving), moving) for scene in captioned]
        targets = []
        for values, attribute in zip(self._values(captioned), _ATTRIBUTES, strict=True):
            rows = np.zeros((len(captioned), len(attribute)), np.float32)
            for row, present in zip(rows, values, strict=True):
                row[[attribute.index(value) for value in present]] = 1
            targets.append(torch.from_numpy(rows))
        # Texts that mean the same count as right answers for each other.
        same = torch.tensor([[a == b for b in texts + wrong] for a in texts])
        ids = encode_captions(self.tokenizer, texts + wrong, self.length)
        regions = find_regions([things for _, things in drawn], self.patch)
        known = [self._owners(scene) for scene in scenes]  # per clip, per thing: colour, shape and motion
        pairs = zip(regions.places[:, 0].tolist(), regions.things.tolist(), strict=True)
        labels = torch.tensor([known[clip][thing] for clip, thing in pairs])
        return torch.from_numpy(np.stack(frames)), ids, same, targets, regions, labels

    @staticmethod
    def _rare(rng: np.random.Generator) -> Scene:
        return sample_unsafe_scene(rng) if rng.random() < 0.6 else Scene((), foreign=True)

    @staticmethod
    def _owners(scene: Scene) -> list[tuple[int, int, int]]:
        """Indices of each object's colour, shape and motion; -1 for those of the skull sign."""
        objects = [
            (COLOURS.index(o.colour), SHAPES.index(o.shape), MOTIONS.index(o.motion)) for o in scene.objects
        ]
        return [*objects, (-1, -1, -1)] if scene.skull else objects

    @staticmethod
    def _values(scenes: list[Scene]) -> list[list[list[str]]]:
        return [
            [[o.colour for o in s.objects] for s in scenes],
            [[o.shape for o in s.objects] for s in scenes],
            [[MOTION_PHRASES[o.motion] for o in s.objects] for s in scenes],
            [[f"a {s.background} background"] if s.background else [] for s in scenes],
            [[_COUNTS[len(s.objects) - 1]] for s in scenes],
            [[_SIGN[int(s.skull)]] for s in scenes],
        ]

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        frames, ids, same, targets, regions, labels = batch
        tokens = self.model.encoder(clip_pixels(frames))
        clips = self.model.embed_clips(tokens[: self.captions])
        patches = tokens[:, :, 1:][tuple(regions.places.T)]
        embedded_regions = self.model.embed_regions(patches)
        embedded = self.model.embed_texts(torch.cat([ids, self.phrase_ids]))
        texts, phrases = embedded[: len(ids)], embedded[len(ids) :]
        scale = self.model.scale.exp().clamp(max=60)
        half = self.captions
        logits = scale * clips @ texts.T  # [C, 2C]
        minus_infinity = torch.finfo(logits.dtype).min

        def right(scores: Tensor, positive: Tensor) -> Tensor:
            return scores.logsumexp(-1) - scores.masked_fill(~positive, minus_infinity).logsumexp(-1)

        captions = right(logits, same).mean() + right(logits[:, :half].T, same[:, :half].T).mean()
        figures = {"right_caption": float((same.gather(1, logits.argmax(-1, keepdim=True))).float().mean())}
        shown, more = self.model.region_head(patches, regions, self.frames > 1)
        total, first = captions / 2 + shown, 0
        figures |= more
        for index, (target, attribute) in enumerate(zip(targets, _ATTRIBUTES, strict=True)):
            words = phrases[first : first + len(attribute)].T
            first += len(attribute)
            if index == _MOTION and self.frames == 1:
                continue
            scores = scale * clips @ words
            known = target.sum(-1) > 0
            wanted = target[known] / target[known].sum(-1, keepdim=True)
            total = total + F.cross_entropy(scores[known], wanted) / 2
            hit = target[known].gather(1, scores[known].argmax(-1, keepdim=True)).mean()
            figures[_NAMES[index]] = float(hit)
            if index < _OBJECT_ATTRIBUTES:
                scores, wanted = scale * embedded_regions @ words, labels[:, index]
                total = total + F.cross_entropy(scores, wanted, ignore_index=-1)
                hit = (scores.argmax(-1) == wanted)[wanted >= 0].float().mean()
                figures[f"region_{_NAMES[index]}"] = float(hit)
        return total, figures
