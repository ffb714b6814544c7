"""What networks share that are told a time step: its embedding, and the scales and shifts that follow."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from g4v.export.graph.lowering import Lowering


def time_embedding(ops: Lowering, timestep: str, channels: int, mlp: Any) -> str:
    """[1, width] of a time step float32 [1], by sines and cosines of `channels` numbers and a diffusers'
    TimestepEmbedding.
    """
    g = ops.g

    def waves() -> str:
        half = channels // 2
        frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * (-math.log(10000.0)) / half)
        # Angles up to 1,000 need float32 in every graph.
        angles = g.op("Mul", timestep, g.weight(frequencies[None], float32=True))
        return g.concat(*(g.downcast(g.op(kind, angles)) for kind in ("Cos", "Sin")), axis=1)

    hidden = ops.silu(ops.linear(g.once(("waves", timestep, channels), waves), mlp.linear_1))
    return ops.linear(hidden, mlp.linear_2)


def modulation(ops: Lowering, time: str, table: Tensor, scales: tuple[int, ...]) -> list[str]:
    """The rows of `table` [1, N, width] plus `time`, [1, 1, width] each. scales: rows that multiply 1 + their
    value, and so have it added.
    """
    g = ops.g
    shifted = table.detach().double().clone()
    shifted[:, list(scales)] += 1
    total = g.op("Add", time, g.weight(shifted))
    made: list[str] = g.op("Split", total, outputs=table.shape[1], axis=1, num_outputs=table.shape[1])
    return made


def scaled(ops: Lowering, n: str, scale: str, shift: str) -> str:
    """n * scale + shift."""
    g = ops.g
    made: str = g.op("Add", g.op("Mul", n, scale), shift)
    return made
