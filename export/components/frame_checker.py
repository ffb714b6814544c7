"""The frame checker's graph: features [T, N, d] -> unsafe [T], 0 to 1."""

from __future__ import annotations

from pathlib import Path

import torch

from g4v.export.graph.writer import Graph
from g4v.model.frame_checker import FrameChecker


def export_frame_checker(
    checker: FrameChecker, folder: str | Path, stem: str = "frame_checker", kind: type[Graph] = Graph
) -> list[str]:
    """Writes the graph and its data into `folder`; returns their names."""
    with kind(folder, stem) as g, torch.no_grad():
        features = g.input("features", "float32", ["frames", "tokens", checker.config.hidden_size])
        h = g.op("Relu", g.linear(features, checker.fc1))
        tokens = g.reshape(g.linear(h, checker.fc2), 0, -1)
        unsafe = g.op("Sigmoid", g.op("ReduceMax", tokens, g.ints(1), keepdims=0))
        g.output("unsafe", unsafe, "float32", ["frames"])
        g.save()
        return g.files
