"""Dialogues about the shapes world, in many wordings, and text for the base language model.

`sample_dialogue` writes one dialogue. What its turns say is exact: answers are derived from the scenes.

Turn.meta of a question: "attribute" is "describe", "colour", "shape", "motion", "background", "count",
"yesno", "compare" or "recall", and "expected" tells the fact:
  describe                   the caption in normal form; `scene_of_description` reads it back from the answer
  colour, shape, motion,     a value ("red", "star", "moving left", "one"), or a list for both objects; the
  background, count          first sentence of the answer contains them and no other value of that attribute
  yesno                      "yes" or "no", the answer's first word
  compare                    a list of words, all of them in the first sentence ("yes"/"no" as its first word)
  recall                     about videos the assistant sent: a caption, "first"/"second", or such a list

Splits: "test" uses a held-out core template for every user turn, a held-out form of the noun phrases in one
of four, and clips with a held-out triple; "train" uses none of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from g4v.data.wordings import REGISTRY, Wordings, words_of
from g4v.shapes.dialogues import compose
from g4v.shapes.dialogues.builder import Dialogue, DialogueBuilder, Turn
from g4v.shapes.dialogues.describe import scene_of_description
from g4v.shapes.dialogues.prose import sample_bindings, sample_checklist, sample_prose, text_of_video
from g4v.shapes.dialogues.safety import REFUSAL_OPENINGS
from g4v.shapes.dialogues.strange import with_strange_colours

__all__ = [
    "KINDS",
    "REFUSAL_OPENINGS",
    "REGISTRY",
    "Dialogue",
    "Turn",
    "Wordings",
    "iter_corpus_for_tokenizer",
    "sample_bindings",
    "sample_checklist",
    "sample_dialogue",
    "sample_document",
    "sample_prose",
    "scene_of_description",
    "text_of_video",
    "with_strange_colours",
    "words_of",
]

# kind -> weight
KINDS: dict[str, float] = {name: weight for name, (_, weight) in compose.KINDS.items()}
_NAMES = tuple(KINDS)
_EDGES = tuple(np.cumsum(list(KINDS.values())) / sum(KINDS.values()))
_MAKERS: dict[str, Callable[[DialogueBuilder], None]] = {
    name: make for name, (make, _) in compose.KINDS.items()
}


def sample_dialogue(rng: np.random.Generator, split: str = "train", kind: str | None = None) -> Dialogue:
    """A dialogue of one to four turns.

    split: "train" or "test". kind: one of KINDS; None draws one by weight. ValueError for other names.
    """
    if kind is None:
        r = rng.random()
        kind = next((name for name, edge in zip(_NAMES, _EDGES, strict=True) if r < edge), _NAMES[-1])
    elif kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    builder = DialogueBuilder(rng, split)
    _MAKERS[kind](builder)
    return Dialogue(builder.turns, kind, {"split": split})


def sample_document(rng: np.random.Generator) -> str:
    """A training text: a dialogue whose clips are replaced by descriptions, or (one in four) prose."""
    if rng.random() < 0.25:
        return sample_prose(rng)
    lines = []
    for turn in sample_dialogue(rng).turns:
        if turn.video is not None:
            lines.append(f"Human: {text_of_video(turn.video, rng)}")
        lines += [f"Human: {turn.user}", f"AI: {turn.answer}"]
    return "\n".join(lines)


def iter_corpus_for_tokenizer(n: int, seed: int) -> Iterator[str]:
    """n documents of the training split, the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        yield sample_document(rng)
