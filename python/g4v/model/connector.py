"""Connectors: from the features of frames to video tokens. The abstractor of mPLUG-Owl is in abstractor.py.

pixel-shuffle   of SmolVLM2: neighbouring patches of a frame become one token, frame by frame.
mlp             of LLaVA-NeXT-Video and Video-LLaVA: neighbouring features of a frame are pooled, where the
                model does that, and go through a network of two layers, frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

POOLINGS = ("average", "max", "conv")
ACTIVATIONS = ("gelu", "gelu_pytorch_tanh", "quick_gelu")


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


@dataclass(frozen=True)
class MlpConfig:
    """hidden_size: width of the features. tokens_per_frame: features of a frame; a square of patches where
    they are pooled. output_size: width of a token. activation: one of ACTIVATIONS. bias: whether the two
    layers have biases. pooling: one of POOLINGS, over squares of stride x stride features; None: none is.
    """

    hidden_size: int
    tokens_per_frame: int
    output_size: int
    activation: str = "gelu"
    bias: bool = True
    pooling: str | None = None
    stride: int = 1

    @property
    def side(self) -> int:
        """Patches of a row of a frame, where they are pooled."""
        return int(self.tokens_per_frame**0.5)

    @property
    def output_tokens(self) -> int:
        """Video tokens of a frame. A rest of patches that fills no square is left out."""
        return self.tokens_per_frame if self.pooling is None else (self.side // self.stride) ** 2


class MlpConnector(nn.Module):
    """A token of each feature, or of each square of features: linear_2(activation(linear_1(pooled)))."""

    kind = "mlp"

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.config = config
        if config.pooling == "conv":
            self.pool = nn.Conv2d(config.hidden_size, config.hidden_size, config.stride, stride=config.stride)
        self.linear_1 = nn.Linear(config.hidden_size, config.output_size, bias=config.bias)
        self.linear_2 = nn.Linear(config.output_size, config.output_size, bias=config.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Video tokens [B, T * output_tokens, D] of features [B, T, N, d], N patches row by row."""
        x = self._pool(features.flatten(0, 1))
        x = self._activate(self.linear_1(x))
        return self.linear_2(x).reshape(features.shape[0], -1, self.config.output_size)

    def _pool(self, x: Tensor) -> Tensor:
        """[F, N, d] -> [F, output_tokens, d]."""
        config = self.config
        if config.pooling is None:
            return x
        x = x.transpose(1, 2).unflatten(2, (config.side, config.side))
        if config.pooling == "conv":
            x = self.pool(x)
        else:
            pool = F.avg_pool2d if config.pooling == "average" else F.max_pool2d
            x = pool(x, config.stride, config.stride)
        return x.flatten(2).transpose(1, 2)

    def _activate(self, x: Tensor) -> Tensor:
        if self.config.activation == "quick_gelu":
            return x * (1.702 * x).sigmoid()
        return F.gelu(x, approximate="none" if self.config.activation == "gelu" else "tanh")


Connector = PixelShuffle | MlpConnector
"""What makes tokens of each frame by itself."""
