"""The frame checker's graph: features [T, N, d] -> unsafe [T], 0 to 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from g4v.export.components.component import Component
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Lowering
from g4v.export.verify.comparison import Feeds, verify_frame_checker
from g4v.model import frame_checker as model


class FrameChecker(Component):
    """Says of each frame of a video how likely it is unsafe."""

    name = "frame_checker"

    def load(self) -> model.FrameChecker:
        return self.checkpoint.frame_checker()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        return export_frame_checker(module, folder, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        config = module.config
        return {"hidden_size": config.hidden_size, "withhold_above": config.withhold_above}

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        frames, tokens = int(self.checkpoint.about["frames"]), self.checkpoint.tokens_per_frame()
        return verify_frame_checker(module, folder, frames, tokens, stem, feeds)


def export_frame_checker(
    checker: model.FrameChecker, folder: str | Path, stem: str = "frame_checker", lowering: Lowering = CPU
) -> list[str]:
    """Writes the graph and its data into `folder`; returns their names."""
    with lowering.open(folder, stem) as ops, torch.no_grad():
        g = ops.g
        features = g.input("features", "float32", ["frames", "tokens", checker.config.hidden_size])
        h = g.op("Relu", ops.linear(features, checker.fc1))
        tokens = g.reshape(ops.linear(h, checker.fc2), 0, -1)
        unsafe = g.op("Sigmoid", g.op("ReduceMax", tokens, g.ints(1), keepdims=0))
        g.output("unsafe", unsafe, "float32", ["frames"])
        g.save()
        return g.files
