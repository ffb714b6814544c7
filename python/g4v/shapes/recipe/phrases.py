"""A task beside text to video: at the end of each object's phrase the text encoder shall know that object.

Denoising alone taught the text encoder to list the words of a caption, not which of them go together: of two
objects, a linear map read the second one's colour right in 85% of the captions and its shape in 77%, and the
UNet mixed them up. With the object readable in one token, one look at that token tells the UNet all of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from g4v.shapes.world.world import COLOURS, MOTIONS, SHAPES, object_phrase, parse_caption

_CLASSES = (len(COLOURS), len(SHAPES), len(MOTIONS))


class Phrases(NamedTuple):
    """Where n objects stand in encoded captions, and what they are."""

    rows: Tensor  # int64 [n]: the caption
    columns: Tensor  # int64 [n]: the last token of the object's phrase
    classes: Tensor  # int64 [n, 3]: indices of the colour, the shape and the motion


def find_phrases(tokenizer: Any, texts: list[str]) -> Phrases:
    """The objects of captions as `encode_captions` encodes them; texts that are no caption have none."""
    found: list[tuple[int, int, tuple[int, int, int]]] = []
    for row, text in enumerate(texts):
        scene = parse_caption(text)
        before = ""
        for item in scene.objects if scene else ():
            before += (" and " if before else "") + object_phrase(item)
            column = len(tokenizer.encode(before, add_special_tokens=False))  # <s> stands in front
            classes = (COLOURS.index(item.colour), SHAPES.index(item.shape), MOTIONS.index(item.motion))
            found.append((row, column, classes))
    return Phrases(
        torch.tensor([row for row, _, _ in found], dtype=torch.int64),
        torch.tensor([column for _, column, _ in found], dtype=torch.int64),
        torch.tensor([classes for _, _, classes in found], dtype=torch.int64).view(-1, 3),
    )


class PhraseReader(nn.Module):
    """Reads colour, shape and motion off the state of one token, by one map for every place in a caption."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, sum(_CLASSES))

    def forward(self, states: Tensor, phrases: Phrases) -> tuple[Tensor, Tensor]:
        """states [B, L, D] of the captions -> the mean cross-entropy of the three attributes, summed, and the
        share of objects that are right in all three. Without any phrase both are 0.
        """
        if not len(phrases.rows):
            return states.new_zeros(()), states.new_zeros(())
        logits = self.linear(states[phrases.rows, phrases.columns]).split(_CLASSES, 1)
        targets = phrases.classes.unbind(1)
        loss = sum(F.cross_entropy(x, y) for x, y in zip(logits, targets, strict=True))
        right = torch.stack([x.argmax(1) == y for x, y in zip(logits, targets, strict=True)]).all(0)
        return torch.as_tensor(loss), right.float().mean()
