"""Connectors: from the features of frames to video tokens. The abstractor of mPLUG-Owl is in abstractor.py.

pixel-shuffle   of SmolVLM2: neighbouring patches of a frame become one token, frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class PixelShuffleConfig:
    """hidden_size: width of the features. tokens_per_frame: features of a frame, a square of patches.
    scale_factor: patches of which, in each direction, one token is made. output_size: width of a token.
    """

    hidden_size: int
    tokens_per_frame: int
    scale_factor: int
    output_size: int

    @property
    def output_tokens(self) -> int:
        """Video tokens of a frame."""
        return self.tokens_per_frame // self.scale_factor**2


class PixelShuffle(nn.Module):
    """Squares of scale_factor x scale_factor patches side by side in one row of features, and a product.

    The token of a square has the patches of its first row from left to right, then those of the next.
    """

    kind = "pixel-shuffle"

    def __init__(self, config: PixelShuffleConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Linear(config.hidden_size * config.scale_factor**2, config.output_size, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Video tokens [B, T * output_tokens, D] of features [B, T, N, d], N patches row by row."""
        scale, batch = self.config.scale_factor, features.shape[0]
        side = int(self.config.tokens_per_frame**0.5) // scale
        x = features.reshape(-1, side, scale, side, scale, features.shape[-1])
        x = x.transpose(2, 3).reshape(batch, -1, scale * scale * features.shape[-1])
        return self.proj(x)
