"""Aborting on all processes: one that ends alone leaves the others waiting for it in their next reduction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from g4v.train.errors import AbortedByPeer, TrainingError

_MOST_PLACES = 12


def has_peers() -> bool:
    """Whether the run has other processes."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def any_process(found: bool, device: torch.device) -> bool:
    """Whether `found` is true on any process. A collective call: every process must make it.

    device: on which the processes communicate.
    """
    if not has_peers():
        return found
    flag = torch.tensor(float(found), device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)


def gather(values: Sequence[Any]) -> list[Any]:
    """The values of all processes, each distinct one once, in order of the ranks. A collective call."""
    if not has_peers():
        return list(dict.fromkeys(values))
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, list(values))
    return list(dict.fromkeys(value for rank in gathered for value in rank))


def abort(reasons: Sequence[str], join: Callable[[list[str]], str] = "; ".join) -> None:
    """Raises on every process: TrainingError on rank 0, AbortedByPeer on the others. A collective call.

    reasons: those of this process, perhaps none. join: makes one message of the reasons of all processes.
    """
    message = join(gather(reasons))
    if has_peers() and torch.distributed.get_rank() > 0:
        raise AbortedByPeer(message)
    raise TrainingError(message)


def list_places(places: Sequence[str]) -> str:
    """The rows of a step for a message: the first twelve by name, the others by their number."""
    more = len(places) - _MOST_PLACES
    return "; ".join(places[:_MOST_PLACES]) + (f" and {more} more rows" if more > 0 else "")
