"""The base language model of the embedded default, trained on text alone.

It reads conversations in which a clip stands as a description in words. Stage 1 (g4v.train) then has to make
the abstractor's output work like such a description, with the language model frozen; stage 2 adapts the
language model to dialogues with real clips, requests for videos and refusals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

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
from g4v.shapes.recipe.loop import Part
from g4v.train.rows import pad

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
# What users say, and what their clips show, cannot be predicted; at full weight its noise would drown the few
# tokens of an answer that depend on them.
_UNPREDICTABLE = 0.1
_PROSE_WEIGHT = 0.5
_VERDICT = 5.0  # of the yes or no that opens an answer: all that follows can be said without having compared
_DRILL = 0.02  # of what a list of bindings asks for
# Shares in the run on plain words: dialogues of these kinds. The rest is what was learned before: it is to be
# kept.
_PLAIN_WORDS = {
    "plain_question": 0.2,
    "plain_request": 0.06,
    "careless": 0.08,
    "compare": 0.06,
    "unsafe": 0.05,
    "harmless": 0.05,
    "written_unsafe": 0.1,
    "written_harmless": 0.15,
    "written_question": 0.07,
    "written_request": 0.03,
}
_SYSTEM = 0.25  # share of conversations that open with the system text, which never changes


def weighted_loss(logits: Tensor, wanted: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean cross-entropy of logits [B, L, V] to ids [B, L], weights [B, L]; and the share of answer
    tokens (weights of 1 and more) that have the largest logit.
    """
    losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none")
    right = (logits.argmax(-1) == wanted)[weights >= 1].float().mean()
    return (losses * weights.flatten()).sum() / weights.sum(), right


def dialogue_turns(dialogue: Dialogue) -> list[PromptTurn]:
    """The turns as the prompt template takes them."""
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
            weights += [_UNPREDICTABLE] * len(words)
        else:
            ids.append(token)
            if label == IGNORED:
                weights.append(_UNPREDICTABLE if place >= opening else 0.0)
            else:
                weights.append(_VERDICT if before == IGNORED and token in verdicts else 1.0)
        before = label
    if rng.random() >= _SYSTEM:
        kept = 0 if template.bos_id is None else 1
        del ids[kept:opening], weights[kept:opening]
    return ids[:_LONGEST], weights[:_LONGEST]


class BaseLanguagePart(Part):
    """Next-token prediction on conversations and plain prose; `rows` texts a step."""

    def __init__(self, llm: nn.Module, tokenizer: Any, template: PromptTemplate, rows: int = 24) -> None:
        super().__init__()
        self.model = llm
        self.encode = plain_encoder(tokenizer)
        self.verdicts = verdict_ids(self.encode)
        self.template, self.rows = template, rows

    def document(self, rng: np.random.Generator) -> tuple[list[int], list[float]]:
        """Ids of one training text, and their weights in the loss."""
        share = rng.random()
        if share < _PROSE:
            ids = self.plain(sample_prose(rng))
            return ids, [_PROSE_WEIGHT] * len(ids)
        if share < _PROSE + _CHECKLISTS:
            ids = self.plain(sample_checklist(rng))
            return ids, [1.0 if token in self.verdicts else _UNPREDICTABLE for token in ids]
        if share < _PROSE + _CHECKLISTS + _BINDINGS:
            return self.bindings(rng)
        kind = "question" if share < _PROSE + _CHECKLISTS + _BINDINGS + _QUESTIONS else None
        dialogue = sample_dialogue(rng, "train", kind)
        if dialogue.kind in _ABOUT_CLIPS and rng.random() < _STRANGE:
            dialogue = with_strange_colours(dialogue, rng)
        return encode_as_text(dialogue, self.template, self.encode, self.verdicts, rng)

    def bindings(self, rng: np.random.Generator) -> tuple[list[int], list[float]]:
        """Ids of `sample_bindings`, and their weights in the loss: 1 where the words can be predicted."""
        ids, weights = [self.template.bos_id or 0], [0.0]
        for text, predictable in sample_bindings(rng):
            piece = self.encode(text, len(ids) == 1)
            ids += piece
            weights += [1.0 if predictable else _DRILL] * len(piece)
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


class PlainWordsPart(BaseLanguagePart):
    """The run on plain words, which goes on from the base model: many forms of each question, held-out
    families left out (g4v.shapes.dialogues.forms), among the documents that it was trained on before.
    """

    def document(self, rng: np.random.Generator) -> tuple[list[int], list[float]]:
        share = rng.random()
        for kind, part in _PLAIN_WORDS.items():
            if share < part:
                dialogue = sample_dialogue(rng, "train", kind)
                return encode_as_text(dialogue, self.template, self.encode, self.verdicts, rng)
            share -= part
        return super().document(rng)
