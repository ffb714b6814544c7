"""The language side: the base model on text, then the paper's stage 1 (abstractor) and stage 2 (LoRA).

The base model reads conversations in which a clip stands as a description in words. Stage 1 then has to make
the abstractor's output work like such a description, with the language model frozen; stage 2 adapts the
language model to dialogues with real clips, requests for videos and refusals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from g4v.data.shapes.dialogues import Dialogue, sample_dialogue, sample_prose, text_of_video
from g4v.data.shapes.render import render
from g4v.data.shapes.world import Scene
from g4v.model.assistant import Gpt4Video
from g4v.model.prompt import IGNORED, VIDEO_ID, Encode, PromptTemplate, PromptTurn, plain_encoder
from g4v.train.contrastive import clip_pixels
from g4v.train.loop import Part
from g4v.video import sample_frames

_LENGTH_GROUP = 4  # steps whose documents are drawn together and sorted by length, to save padding
_LONGEST = 320  # tokens of a training sequence
# Shares of the base model's documents: prose, and questions beyond those of the natural mixture: their
# answers are the hardest to learn.
_PROSE = 0.06
_QUESTIONS = 0.3


def pad(rows: list[list[int]], value: int) -> Tensor:
    out = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.int64)
    for row, ids in zip(out, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return out


def dialogue_turns(dialogue: Dialogue) -> list[PromptTurn]:
    return [PromptTurn(turn.user, turn.answer, turn.video is not None) for turn in dialogue.turns]


def encode_as_text(
    dialogue: Dialogue, template: PromptTemplate, encode: Encode, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Ids and labels of a conversation whose clips are put into words; both speakers are supervised."""
    encoded = template.encode(dialogue_turns(dialogue), encode, 1, supervise="both")
    scenes = iter([turn.video for turn in dialogue.turns if turn.video is not None])
    ids: list[int] = []
    labels: list[int] = []
    for token, label in zip(encoded.ids, encoded.labels, strict=True):
        if token == VIDEO_ID:
            words = encode(text_of_video(next(scenes), rng), False)
            ids += words
            labels += words
        else:
            ids.append(token)
            labels.append(label)
    return ids[:_LONGEST], labels[:_LONGEST]


class BaseLanguagePart(Part):
    """Next-token prediction on conversations and plain prose."""

    def __init__(self, llm: nn.Module, tokenizer: Any, template: PromptTemplate, rows: int = 24) -> None:
        super().__init__()
        self.model = llm
        self.encode = plain_encoder(tokenizer)
        self.template, self.rows = template, rows

    def document(self, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        share = rng.random()
        if share < _PROSE:
            ids = [
                self.template.bos_id or 0,
                *self.encode(sample_prose(rng), True),
                self.template.turn_end_id,
            ]
            return ids[:_LONGEST], ids[:_LONGEST]
        kind = "question" if share < _PROSE + _QUESTIONS else None
        return encode_as_text(sample_dialogue(rng, "train", kind), self.template, self.encode, rng)

    def stream(self, seed: int, first_step: int) -> Iterator[Any]:
        group = first_step // _LENGTH_GROUP
        skip = first_step % _LENGTH_GROUP
        while True:
            rng = np.random.default_rng([seed, group])
            documents = [self.document(rng) for _ in range(self.rows * _LENGTH_GROUP)]
            documents.sort(key=lambda pair: len(pair[0]))
            order = rng.permutation(_LENGTH_GROUP)
            for place in order[skip:]:
                chosen = documents[place * self.rows : (place + 1) * self.rows]
                yield pad([ids for ids, _ in chosen], 0), pad([labels for _, labels in chosen], IGNORED)
            group, skip = group + 1, 0

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        ids, labels = batch
        loss = self.model(input_ids=ids, labels=labels, use_cache=False).loss
        return loss, {"tokens": float(ids.numel())}


def _film(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A clip of the scene; some are sampled from longer ones, by the runtime's rule."""
    if rng.random() < 0.6:
        return render(scene, rng)
    count = int(rng.integers(9, 40))
    return render(scene, rng, moments=np.array(sample_frames(count, 8), np.float32) / np.float32(count - 1))


class _DialoguePart(Part):
    """Next-token prediction on dialogues with real clips, through encoder and abstractor.

    kinds: kinds of dialogue with their shares; None takes the natural mixture.
    """

    def __init__(
        self,
        assistant: Gpt4Video,
        tokenizer: Any,
        template: PromptTemplate,
        kinds: dict[str, float] | None,
        rows: int,
    ) -> None:
        super().__init__()
        self.model = assistant
        self.encode = plain_encoder(tokenizer)
        self.template, self.rows = template, rows
        self.kinds = kinds
        assert assistant.abstractor is not None
        self.video_tokens = assistant.abstractor.config.output_tokens

    def batch(self, rng: np.random.Generator) -> Any:
        ids, labels, clips = [], [], []
        names = list(self.kinds) if self.kinds else [None]
        shares = np.array(list(self.kinds.values())) if self.kinds else np.ones(1)
        while len(ids) < self.rows:
            kind = names[int(rng.choice(len(names), p=shares / shares.sum()))]
            dialogue = sample_dialogue(rng, "train", kind)
            encoded = self.template.encode(dialogue_turns(dialogue), self.encode, self.video_tokens)
            if len(encoded.ids) > _LONGEST:
                continue
            ids.append(encoded.ids)
            labels.append(encoded.labels)
            clips += [_film(turn.video, rng) for turn in dialogue.turns if turn.video is not None]
        frames = np.stack(clips) if clips else None
        return (
            pad(ids, 0),
            pad(labels, IGNORED),
            frames if frames is None else clip_pixels(torch.from_numpy(frames)),
        )

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        ids, labels, pixels = batch
        out = self.model(ids, labels, pixel_values=pixels)
        right = (out.logits[:, :-1].argmax(-1) == labels[:, 1:])[labels[:, 1:] != IGNORED]
        return out.loss, {"right_token": float(right.float().mean())}


class AbstractorPart(_DialoguePart):
    """Stage 1: the abstractor alone learns; encoder and language model are frozen."""

    def __init__(
        self, assistant: Gpt4Video, tokenizer: Any, template: PromptTemplate, **options: Any
    ) -> None:
        assistant.requires_grad_(False)
        assert assistant.abstractor is not None
        assistant.abstractor.requires_grad_(True)
        super().__init__(assistant, tokenizer, template, **options)


class AdapterPart(_DialoguePart):
    """Stage 2: the LoRA of the language model learns; all else is frozen."""

    def __init__(
        self, assistant: Gpt4Video, tokenizer: Any, template: PromptTemplate, **options: Any
    ) -> None:
        assistant.requires_grad_(False)
        for name, parameter in assistant.llm.named_parameters():
            parameter.requires_grad_("lora_" in name)
        super().__init__(assistant, tokenizer, template, **options)
