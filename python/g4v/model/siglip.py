"""The SigLIP tower of SmolVLM2: features of single frames, without a class token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class SiglipEncoder(nn.Module):
    """A `SmolVLMVisionTransformer` of transformers that sees square frames of one size.

    model: the transformer. image_size: edge of the frames in pixels, a multiple of the patches'; the tower
    may have been made for another one.
    """

    flavour = "siglip"

    def __init__(self, model: Any, image_size: int) -> None:
        super().__init__()
        self.model = model
        self.image_size = image_size

    @property
    def hidden_size(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def tokens_per_frame(self) -> int:
        return int((self.image_size // self.model.config.patch_size) ** 2)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Features of frames, float [T, N, d] or [B, T, N, d].

        pixel_values: float [T, 3, S, S] (one clip) or [B, T, 3, S, S], normalised RGB.
        """
        frames = pixel_values.flatten(0, -4)
        hidden = self.model(pixel_values=frames).last_hidden_state
        return hidden.unflatten(0, pixel_values.shape[:-3])

    def positions(self) -> Tensor:
        """The position embeddings of a frame's patches, row by row: [N, d].

        A patch has the embedding of the place, in the grid that the tower was made for, that the fraction of
        its row and column falls on (NaViT, Dehghani et al., 2023). transformers computes fractions and places
        in float32, where some fall just short of their own place: so it is done here.
        """
        embeddings = self.model.embeddings
        side = self.image_size // self.model.config.patch_size
        own = embeddings.num_patches_per_side
        places = torch.arange(1 / own, 1.0, 1 / own, dtype=torch.float32)
        fractions = torch.arange(side, dtype=torch.float32) * (1.0 / torch.tensor(side))
        index = torch.bucketize(fractions.clamp(max=1.0 - 1e-6), places, right=True)
        return embeddings.position_embedding.weight[(index[:, None] * own + index[None]).flatten()]
