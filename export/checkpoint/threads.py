"""How many threads PyTorch computes with, where matrices are small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Values of a matrix up to which one thread is as fast as two: operators on its parts take microseconds, and
# where something else runs on the machine, threads wait for each other ten times as long.
_SMALL = 1 << 22


@contextmanager
def threads_for(values: int) -> Iterator[None]:
    """A context in which PyTorch has one thread if a matrix has so few values, else those that it had."""
    before = torch.get_num_threads()
    if values <= _SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
