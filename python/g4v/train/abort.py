"""Stopping together: a process that stops alone leaves the others waiting for it in their next reduction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from g4v.train.errors import StoppedTogether, TrainingError

_MOST_PLACES = 12


def joined() -> bool:
    """Whether there are other processes."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def any_process(found: bool, device: torch.device) -> bool:
    """Whether it is so on any process; every process must ask."""
    if not joined():
        return found
    flag = torch.tensor(float(found), device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)


def gather(values: Sequence[Any]) -> list[Any]:
    """The values of all processes, each once, in order; every process must call this."""
    if not joined():
        return list(dict.fromkeys(values))
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, list(values))
    return list(dict.fromkeys(value for part in gathered for value in part))


def stop_together(reasons: Sequence[str], join: Callable[[list[str]], str] = "; ".join) -> None:
    """Raises on every process; every process must call this. reasons: this one's, which may be none.

    join: makes the message of all reasons. The first process speaks, the others are silent.
    """
    message = join(gather(reasons))
    if joined() and torch.distributed.get_rank() > 0:
        raise StoppedTogether(message)
    raise TrainingError(message)


def list_places(places: Sequence[str]) -> str:
    """The rows of a step, the first few by name."""
    more = len(places) - _MOST_PLACES
    return "; ".join(places[:_MOST_PLACES]) + (f" and {more} more rows" if more > 0 else "")
