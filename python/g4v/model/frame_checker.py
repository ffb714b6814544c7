"""The frame checker: how unsafe a generated frame looks, from the encoder's tokens."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from g4v.model.config import FrameCheckerConfig
from g4v.model.storage import load_tensors, save_module


class FrameChecker(nn.Module):
    """A two-layer MLP with ReLU over every token of a frame; the frame's score is its largest token's."""

    def __init__(self, config: FrameCheckerConfig) -> None:
        super().__init__()
        self.config = config
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, 1)

    def logits(self, features: Tensor) -> Tensor:
        """Logits [...] of encoder tokens, float [..., N, d]; above 0 is unsafe."""
        return self.fc2(torch.relu(self.fc1(features))).squeeze(-1).amax(-1)

    def forward(self, features: Tensor) -> Tensor:
        """How unsafe each frame is, float [...] from 0 to 1; features: encoder tokens, float [..., N, d]."""
        return self.logits(features).sigmoid()

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Writes config.json and model.safetensors into `folder`."""
        save_module(self, asdict(self.config), folder, dtype)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> FrameChecker:
        """Reads what `save_pretrained` wrote, as float32. RuntimeError names missing or extra tensors."""
        model = cls(FrameCheckerConfig.from_file(Path(folder) / "config.json"))
        model.load_state_dict(load_tensors(folder))
        return model.eval()
