"""The two towers of the contrastive training, and how the encoder's patch embedding starts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from g4v.shapes.recipe.regions import RegionHead
from g4v.shapes.recipe.tokenizers import EOS_ID


class TwoTowers(nn.Module):
    """Encoder and text encoder, their projections into a common space [128], and the region head."""

    def __init__(
        self, encoder: nn.Module, text_encoder: nn.Module, vision_width: int, text_width: int, patch: int
    ) -> None:
        super().__init__()
        self.encoder, self.text_encoder = encoder, text_encoder
        self.visual_projection = nn.Linear(2 * vision_width, 128, bias=False)
        self.region_projection = nn.Linear(vision_width, 128, bias=False)
        self.region_head = RegionHead(vision_width, patch)
        self.text_projection = nn.Linear(text_width, 128, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.5))

    def embed_clips(self, tokens: Tensor) -> Tensor:
        """Unit vectors [B, 128] of the encoder's [B, T, 1 + P, d]: class and patch tokens, averaged apart."""
        pooled = torch.cat([tokens[:, :, 0].mean(1), tokens[:, :, 1:].mean((1, 2))], -1)
        return F.normalize(self.visual_projection(pooled), dim=-1)

    def embed_regions(self, tokens: Tensor) -> Tensor:
        """Unit vectors [R, 128] of patch tokens [R, d]."""
        return F.normalize(self.region_projection(tokens), dim=-1)

    def embed_texts(self, ids: Tensor) -> Tensor:
        """Unit vectors [B, 128] of ids [B, L], read at </s>."""
        hidden = self.text_encoder(input_ids=ids).last_hidden_state
        end = (ids == EOS_ID).int().argmax(-1)
        return F.normalize(self.text_projection(hidden[torch.arange(len(ids)), end]), dim=-1)


def whiten_patches(encoder: Any, pixels: Tensor) -> None:
    """Starts the patch embedding at the whitened principal components of patches: edges then weigh as much as
    the plain colours that dominate them. pixels: float [..., 3, S, S], normalised.
    """
    weight = encoder.embeddings.patch_embed.weight
    patches = F.unfold(pixels.flatten(0, -4), weight.shape[-1], stride=weight.shape[-1])
    patches = patches.transpose(1, 2).flatten(0, 1).double()
    patches = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))  # ascending
    count = min(len(values), len(weight))
    rows = (vectors / (values.clamp(min=0) + 0.05).sqrt()).T.flip(0)[:count]
    with torch.no_grad():
        weight[:count] = rows.view(count, *weight.shape[1:]).float()
