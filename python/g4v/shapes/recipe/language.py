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
import torch.nn.functional as F
from torch import Tensor, nn

from g4v.model.assistant import Gpt4Video
from g4v.model.prompt import IGNORED, VIDEO_ID, Encode, PromptTemplate, PromptTurn, plain_encoder
from g4v.shapes.dialogues import (
    Dialogue,
    sample_bindings,
    sample_checklist,
    sample_dialogue,
    sample_prose,
    text_of_video,
    with_strange_colours,
)
from g4v.shapes.recipe.contrastive import clip_pixels
from g4v.shapes.recipe.loop import Part
from g4v.shapes.world.render import render
from g4v.shapes.world.world import Scene
from g4v.video import sample_frames

_LENGTH_GROUP = 4  # steps whose documents are drawn together and sorted by length, to save padding
_LONGEST = 320  # tokens of a training sequence
# Shares of the base model's documents: prose, checklists, lists of which object is what, and questions beyond
# those of the natural mixture: their answers are the hardest to learn. With only 28% left to that mixture,
# requests and refusals in unseen wordings suffered.
_PROSE = 0.05
_CHECKLISTS = 0.08
_BINDINGS = 0.1
_QUESTIONS = 0.17
_STRANGE = 0.4  # share of these questions, and of descriptions, whose colours are any words
_ABOUT_CLIPS = ("question", "describe")
# What users say, and what their clips show, cannot be foretold; at full weight its noise would drown the few
# tokens of an answer that depend on them.
_UNFORESEEN = 0.1
_PROSE_WEIGHT = 0.5
_VERDICT = 5.0  # of the yes or no that opens an answer: all that follows can be said without having compared
_DRILL = 0.02  # of what a list of bindings asks for
_SYSTEM = 0.25  # share of conversations that open with the system text, which never changes


def pad(rows: list[Any], value: int | float) -> Tensor:
    """Rows of numbers, filled up with `value`, whose type is the result's: int64 or float32 [rows, most]."""
    out = torch.full((len(rows), max(map(len, rows))), value)
    for row, numbers in zip(out, rows, strict=True):
        row[: len(numbers)] = torch.tensor(numbers)
    return out


def weighted_loss(logits: Tensor, wanted: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of logits [B, L, V] to ids [B, L] by weights [B, L], and the share of answer tokens
    (weights of 1 and more) that are foretold.
    """
    losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none")
    right = (logits.argmax(-1) == wanted)[weights >= 1].float().mean()
    return (losses * weights.flatten()).sum() / weights.sum(), right


def dialogue_turns(dialogue: Dialogue) -> list[PromptTurn]:
    return [PromptTurn(turn.user, turn.answer, turn.video is not None) for turn in dialogue.turns]


def verdict_ids(encode: Encode) -> set[int]:
    """The first tokens of " Yes" and " No"."""
    return {encode(word, False)[0] for word in (" Yes", " No")}


def encode_as_text(
    dialogue: Dialogue,
    template: PromptTemplate,
    encode: Encode,
    verdicts: set[int],
    rng: np.random.Generator,
) -> tuple[list[int], list[float]]:
    """Ids of a conversation whose clips are put into words, and what each counts in the loss."""
    encoded = template.encode(dialogue_turns(dialogue), encode, 1)
    opening = len(template.opening_ids(encode))
    scenes = iter([turn.video for turn in dialogue.turns if turn.video is not None])
    ids: list[int] = []
    weights: list[float] = []
    before = IGNORED
    for place, (token, label) in enumerate(zip(encoded.ids, encoded.labels, strict=True)):
        if token == VIDEO_ID:
            words = encode(text_of_video(next(scenes), rng), False)
            ids += words
            weights += [_UNFORESEEN] * len(words)
        else:
            ids.append(token)
            if label == IGNORED:
                weights.append(_UNFORESEEN if place >= opening else 0.0)
            else:
                weights.append(_VERDICT if before == IGNORED and token in verdicts else 1.0)
        before = label
    if rng.random() >= _SYSTEM:
        kept = 0 if template.bos_id is None else 1
        del ids[kept:opening], weights[kept:opening]
    return ids[:_LONGEST], weights[:_LONGEST]


class BaseLanguagePart(Part):
    """Next-token prediction on conversations and plain prose."""

    def __init__(self, llm: nn.Module, tokenizer: Any, template: PromptTemplate, rows: int = 24) -> None:
        super().__init__()
        self.model = llm
        self.encode = plain_encoder(tokenizer)
        self.verdicts = verdict_ids(self.encode)
        self.template, self.rows = template, rows

    def document(self, rng: np.random.Generator) -> tuple[list[int], list[float]]:
        share = rng.random()
        if share < _PROSE:
            ids = self.plain(sample_prose(rng))
            return ids, [_PROSE_WEIGHT] * len(ids)
        if share < _PROSE + _CHECKLISTS:
            ids = self.plain(sample_checklist(rng))
            return ids, [1.0 if token in self.verdicts else _UNFORESEEN for token in ids]
        if share < _PROSE + _CHECKLISTS + _BINDINGS:
            return self.bindings(rng)
        kind = "question" if share < _PROSE + _CHECKLISTS + _BINDINGS + _QUESTIONS else None
        dialogue = sample_dialogue(rng, "train", kind)
        if dialogue.kind in _ABOUT_CLIPS and rng.random() < _STRANGE:
            dialogue = with_strange_colours(dialogue, rng)
        return encode_as_text(dialogue, self.template, self.encode, self.verdicts, rng)

    def bindings(self, rng: np.random.Generator) -> tuple[list[int], list[float]]:
        """`sample_bindings`, whose foretold words count fully."""
        ids, weights = [self.template.bos_id or 0], [0.0]
        for text, foretold in sample_bindings(rng):
            piece = self.encode(text, len(ids) == 1)
            ids += piece
            weights += [1.0 if foretold else _DRILL] * len(piece)
        return ids[:_LONGEST], weights[:_LONGEST]

    def plain(self, text: str) -> list[int]:
        """Ids of a text that is no conversation."""
        return [self.template.bos_id or 0, *self.encode(text, True), self.template.turn_end_id][:_LONGEST]

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
                yield pad([ids for ids, _ in chosen], 0), pad([weights for _, weights in chosen], 0.0)
            group, skip = group + 1, 0

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        ids, weights = batch
        logits = self.model(input_ids=ids, use_cache=False).logits[:, :-1]
        loss, right = weighted_loss(logits, ids[:, 1:], weights[:, 1:])
        return loss, {"right_token": float(right), "tokens": float(ids.numel())}


class BindingsPart(BaseLanguagePart):
    """Nothing but drills on which of two objects is what. Among other documents a small model did not learn
    it in 15,000 steps, and without it two objects are mixed up; alone it takes some hundred.
    """

    def __init__(self, llm: nn.Module, tokenizer: Any, template: PromptTemplate) -> None:
        super().__init__(llm, tokenizer, template, rows=64)

    def document(self, rng: np.random.Generator) -> tuple[list[int], list[float]]:
        return self.bindings(rng)


def _film(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A clip of the scene; some are sampled from longer ones, by the runtime's rule."""
    if rng.random() < 0.6:
        return render(scene, rng)
    count = int(rng.integers(9, 40))
    return render(scene, rng, moments=np.array(sample_frames(count, 8), np.float32) / np.float32(count - 1))


class _DialoguePart(Part):
    """Next-token prediction on dialogues with real clips, through encoder and abstractor.

    kinds: kinds of dialogue with their shares.
    """

    def __init__(
        self,
        assistant: Gpt4Video,
        tokenizer: Any,
        template: PromptTemplate,
        kinds: dict[str, float],
        rows: int,
    ) -> None:
        super().__init__()
        self.model = assistant
        self.encode = plain_encoder(tokenizer)
        self.verdicts: Tensor
        self.register_buffer("verdicts", torch.tensor(sorted(verdict_ids(self.encode))), persistent=False)
        self.template, self.rows = template, rows
        self.kinds = kinds
        assert assistant.abstractor is not None
        self.video_tokens = assistant.abstractor.config.output_tokens

    def batch(self, rng: np.random.Generator) -> Any:
        ids, labels, clips = [], [], []
        names, shares = list(self.kinds), np.array(list(self.kinds.values()))
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
        logits = self.model(ids, pixel_values=pixels).logits[:, :-1]
        wanted = labels[:, 1:]
        opens = torch.isin(wanted, self.verdicts) & (labels[:, :-1] == IGNORED)
        weights = torch.where(opens, _VERDICT, (wanted != IGNORED).float())
        loss, right = weighted_loss(logits, wanted, weights)
        return loss, {"right_token": float(right)}


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
