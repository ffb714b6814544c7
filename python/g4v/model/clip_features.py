"""The CLIP tower of the LLaVA family: hidden states of single frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class ClipFeatures(nn.Module):
    """A `CLIPVisionModel` of transformers that returns hidden states in place of its normalised output.

    model: the tower, of which no layer behind the last one of `layers` is needed. layers: hidden states that
    stand side by side in the features: 0 is what the first layer reads, i what layer i makes. class_token:
    whether the token of the class is kept, as the first of a frame.
    """

    flavour = "clip"

    def __init__(self, model: Any, layers: Sequence[int], class_token: bool) -> None:
        super().__init__()
        self.model = model
        self.layers = tuple(layers)
        self.class_token = class_token

    @classmethod
    def from_tensors(
        cls, config: Any, layers: Sequence[int], class_token: bool, tensors: Mapping[str, Tensor]
    ) -> ClipFeatures:
        """The tower of a `transformers.CLIPVisionConfig` with its tensors, by the names of its state."""
        from transformers import CLIPVisionModel

        with torch.device("meta"):  # nothing is drawn at random
            model = CLIPVisionModel(config)
        model.load_state_dict(dict(tensors), assign=True)
        for module in model.modules():
            if "position_ids" in module._buffers:  # it is not stored
                count = (config.image_size // config.patch_size) ** 2 + 1
                module.register_buffer("position_ids", torch.arange(count).expand((1, -1)), persistent=False)
        return cls(model, layers, class_token).eval()

    @property
    def image_size(self) -> int:
        return int(self.model.config.image_size)

    @property
    def hidden_size(self) -> int:
        """Width of the features: that of the tower for each hidden state."""
        return int(self.model.config.hidden_size) * len(self.layers)

    @property
    def tokens_per_frame(self) -> int:
        side = self.model.config.image_size // self.model.config.patch_size
        return int(side**2) + self.class_token

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Features of frames, float [T, N, d] or [B, T, N, d].

        pixel_values: float [T, 3, S, S] (one clip) or [B, T, 3, S, S], normalised RGB.
        """
        frames = pixel_values.flatten(0, -4)
        x = self.model.pre_layrnorm(self.model.embeddings(frames))
        states = [x]
        for layer in self.model.encoder.layers[: max(self.layers)]:
            x = layer(x, attention_mask=None)
            states.append(x[0] if isinstance(x, tuple) else x)
            x = states[-1]
        found = torch.cat([states[layer] for layer in self.layers], dim=-1)
        return found[:, 0 if self.class_token else 1 :].unflatten(0, pixel_values.shape[:-3])
