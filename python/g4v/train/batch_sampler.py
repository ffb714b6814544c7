"""Which rows make which optimiser step: a function of the seed alone, however many devices share the work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MicroBatch:
    """The rows of one backward pass on one process.

    step: optimiser step, from 0. number: of this pass on this process since the start of the stage. rows:
    indices; there may be none in the last step of an epoch. step_rows: indices of the whole step, on all
    processes.
    """

    step: int
    number: int
    rows: tuple[int, ...]
    step_rows: tuple[int, ...]


@dataclass(frozen=True)
class BatchSampler:
    """Iterates over the micro-batches of one process, from `first_step` to before `last_step`.

    rows: of the data. batch_size: rows of a micro-batch. accumulate: micro-batches of a step. world: number
    of processes. rank: of this one.

    A step takes the next `step_size` rows of its epoch's permutation; pass `a` of process `r` takes the block
    `a * world + r` of them. So two processes see what one would see with the batch doubled, and an epoch ends
    with a smaller step rather than with rows of the next one.
    """

    rows: int
    batch_size: int
    accumulate: int
    world: int
    rank: int
    seed: int
    first_step: int
    last_step: int

    @property
    def step_size(self) -> int:
        """Rows of an optimiser step on all processes."""
        return self.batch_size * self.accumulate * self.world

    def __len__(self) -> int:
        return max(0, self.last_step - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[MicroBatch]:
        per_epoch = steps_per_epoch(self.rows, self.step_size)
        for step in range(self.first_step, self.last_step):
            epoch, place = divmod(step, per_epoch)
            order = _permutation(self.rows, self.seed, epoch)
            chosen = tuple(order[place * self.step_size : (place + 1) * self.step_size].tolist())
            for turn in range(self.accumulate):
                first = (turn * self.world + self.rank) * self.batch_size
                number = step * self.accumulate + turn
                yield MicroBatch(step, number, chosen[first : first + self.batch_size], chosen)


def steps_per_epoch(rows: int, step_size: int) -> int:
    """Optimiser steps of one pass over the data; step_size: rows of a step on all processes."""
    return -(-rows // step_size)


@lru_cache(maxsize=2)
def _permutation(rows: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """int64 [rows]."""
    return np.random.default_rng([seed, epoch]).permutation(rows)
