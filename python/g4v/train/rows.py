"""Rows as tensors: tokens and labels by the template of the runtime, and the clips that belong to them.

`RowBatches` is a map-style data set whose index is a `MicroBatch`; it runs in the workers of a DataLoader, so
that tokens and frames are ready before the device asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from g4v.errors import VideoError
from g4v.model.prompt import IGNORED, ClipTimes, Encode, EncodedPrompt, PromptTemplate
from g4v.train.batch_sampler import MicroBatch
from g4v.train.clips import Clip
from g4v.train.datasets import Row, Rows

Fault = tuple[str, str]  # place of the row, reason
Frames = NDArray[np.floating[Any]]  # of one clip: pixels or features


class RowFault(ValueError):
    """A row gives nothing to learn; the message says why."""


@dataclass(frozen=True)
class RowEncoder:
    """Makes ids and labels of rows.

    video_tokens: rows of the abstractor's output for one clip, or for one frame where there are `times`; 0
    for an assistant without vision. times: when the frames of a clip are shown, where every frame has tokens
    of its own; None: clips have a fixed number of tokens.
    max_length: tokens of a sequence. supervise: "assistant" or "both", as `PromptTemplate.encode` has it.
    opening_weights: token id -> its weight in the loss where it is the first token of an answer; every other
    token weighs 1.
    """

    template: PromptTemplate
    encode: Encode
    video_tokens: int
    max_length: int
    supervise: str
    opening_weights: Mapping[int, float] = field(default_factory=dict)
    times: Callable[[Clip], ClipTimes] | None = None

    def __call__(self, row: Row) -> tuple[EncodedPrompt, int]:
        """The sequence, and how many of the row's turns it holds.

        What is longer than max_length loses its last turns; a first turn that is too long alone loses the end
        of its answer. RowFault where not one token of an answer fits. VideoError where a clip cannot be read
        of which the times are asked for.
        """
        if row.clips and not self.video_tokens:
            raise RowFault("has a video, but the run has no encoder")
        clips = None if self.times is None else [self.times(clip) for clip in row.clips]
        for count in range(len(row.turns), 0, -1):
            turns = row.turns[:count]
            whole = self.template.encode(turns, self.encode, self.video_tokens, self.supervise, clips)
            if len(whole.ids) <= self.max_length:
                return whole, count
        answer = self.template.answer_ids(row.turns[0].answer or "", self.encode)
        if len(whole.ids) - len(answer) >= self.max_length:
            raise RowFault(
                f"the first question ends at token {len(whole.ids) - len(answer)}; max_length is "
                f"{self.max_length}"
            )
        return EncodedPrompt(whole.ids[: self.max_length], whole.labels[: self.max_length]), 1

    def weights(self, labels: Sequence[int]) -> list[float]:
        """What each position of a sequence weighs in the loss; 0 where its label is IGNORED."""
        before = [IGNORED, *labels]
        return [
            0.0 if label == IGNORED else self.opening_weights.get(label, 1.0) if last == IGNORED else 1.0
            for last, label in zip(before, labels, strict=False)
        ]


class RowBatches(Dataset):  # type: ignore[type-arg]
    """Micro-batches as tensors: `batches[MicroBatch]` is a dictionary of

    ids          int64 [B, L], VIDEO_ID at video positions, right-padded with 0
    labels       int64 [B, L], IGNORED where a position does not count
    weights      float32 [B, L], of the labels; absent where all weigh the same
    clips        float32 [C, ...] in reading order, or [1, T, ...] of the frames of all clips where these have
                 tokens of their own; absent where there is none
    step_weight  sum of the weights of all labels of the optimiser step, on all processes
    number, step of the micro-batch
    places       where each of the B rows was read
    faults       (place, reason) of what was found wrong
    unusable     those of the faults that leave nothing to learn

    A row whose clip cannot be read keeps its place with every label ignored, and nothing is learned from it:
    the batch has the same shape on every process, unless frames have tokens of their own.
    """

    def __init__(
        self,
        rows: Rows,
        encoder: RowEncoder,
        read_clip: Callable[[Clip], Frames],
        blank: Callable[[], Frames],
    ) -> None:
        self.rows, self.encoder = rows, encoder
        self.read_clip, self.blank = read_clip, blank
        # Sum of the label weights of each row, -1 before it is known: shared by all workers, so that each row
        # is encoded for it only once.
        self.row_weights = torch.full((len(rows),), -1.0).share_memory_()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, batch: MicroBatch) -> dict[str, Any]:
        faults: list[Fault] = []
        unusable: list[Fault] = []
        ids: list[list[int]] = []
        labels: list[list[int]] = []
        clips: list[Frames] = []
        places: list[str] = []
        for index in batch.rows:
            row = self.rows[index]
            encoded, kept = self._encode(row, faults, unusable)
            row_labels = encoded.labels
            attached = sum(turn.has_video for turn in row.turns[:kept])
            own: list[Frames] = []
            for clip in row.clips[:attached]:
                try:
                    own.append(self.read_clip(clip))
                except VideoError as error:
                    unusable.append((row.place, str(error)))
                    if self.encoder.times is not None:  # there are as many frames as places for them
                        encoded, own = self._empty(), []
                        row_labels = encoded.labels
                        break
                    own.append(self.blank())
                    row_labels = [IGNORED] * len(row_labels)
            clips += own
            ids.append(encoded.ids)
            labels.append(row_labels)
            places.append(row.place)
        if not ids:
            empty = self._empty()
            ids, labels, places = [empty.ids], [empty.labels], ["no row"]
        made: dict[str, Any] = {
            "ids": pad(ids, 0),
            "labels": pad(labels, IGNORED),
            "step_weight": sum(self._row_weight(index) for index in batch.step_rows),
            "number": batch.number,
            "step": batch.step,
            "places": places,
            "faults": faults + unusable,
            "unusable": unusable,
        }
        if self.encoder.opening_weights:
            made["weights"] = pad([self.encoder.weights(row) for row in labels], 0.0)
        if clips:
            per_frame = self.encoder.times is not None
            made["clips"] = torch.from_numpy(np.concatenate(clips)[None] if per_frame else np.stack(clips))
        return made

    def _empty(self) -> EncodedPrompt:
        opening = self.encoder.template.opening_ids(self.encoder.encode)[: self.encoder.max_length]
        return EncodedPrompt(opening, [IGNORED] * len(opening))

    def _encode(self, row: Row, faults: list[Fault], unusable: list[Fault]) -> tuple[EncodedPrompt, int]:
        try:
            encoded, kept = self.encoder(row)
        except (RowFault, VideoError) as error:
            unusable.append((row.place, str(error)))
            return self._empty(), 0
        if kept < len(row.turns):
            reason = f"only {kept} of {len(row.turns)} turns fit into {self.encoder.max_length} tokens"
            faults.append((row.place, reason))
        return encoded, kept

    def _row_weight(self, index: int) -> float:
        known = float(self.row_weights[index])
        if known < 0:
            encoded, _ = self._encode(self.rows[index], [], [])
            # The first position predicts nothing, so its label never counts.
            known = sum(self.encoder.weights(encoded.labels)[1:])
            self.row_weights[index] = known
        return known


def pad(rows: Sequence[Sequence[int]] | Sequence[Sequence[float]], value: float) -> Tensor:
    """[len(rows), longest], filled up on the right; int64 where `value` is an int, else float32."""
    out = torch.full((len(rows), max(map(len, rows))), value)
    for line, row in zip(out, rows, strict=True):
        line[: len(row)] = torch.tensor(row)
    return out
