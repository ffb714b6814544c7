"""The text encoder: input_ids int64 [B, L] -> hidden_states [B, L, D].

CLIP's graph is here, causal and without a padding mask; that of T5 and UMT5 is in g4v.export.components.t5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v.export.checkpoint.captions import Captions, read_captions
from g4v.export.checkpoint.t5 import CLASSES
from g4v.export.components.component import Component
from g4v.export.components.profile import ShapeProfile
from g4v.export.components.t5 import export_t5
from g4v.export.components.text_to_video import text_profile
from g4v.export.components.transformer import clip_layers
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Lowering
from g4v.export.verify.comparison import Feeds, verify_text_encoder

# Weights from which on a text encoder is loaded for each video, and let go before the video is made: that of
# T5-XXL has 4.8e9, more than most networks that it serves. Stable Diffusion's have 1.2e8 and 3.4e8.
_LARGE = 10**9


class TextEncoder(Component):
    """The state of every token of a text, for the UNet."""

    name = "text_encoder"

    def load(self) -> Any:
        return self.checkpoint.text_encoder()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        if module.config.model_type not in CLASSES.values():
            return export_text_encoder(module, folder, stem, lowering)
        length, masked, _ = self._captions
        return export_t5(module, folder, length, masked, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        length, masked, zeroed = self._captions
        found: dict[str, Any] = {"max_length": length, "hidden_size": module.config.hidden_size}
        if masked:
            found["attention_mask"] = True
        if zeroed:
            found["zero_padding"] = True
        if sum(weight.numel() for weight in module.parameters()) > _LARGE:
            found["load"] = "per_video"
        return found

    @property
    def _captions(self) -> Captions:
        return read_captions(self.checkpoint.parts["t2v"])

    @property
    def profile(self) -> ShapeProfile:
        return text_profile(self.checkpoint)

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify_text_encoder(module, folder, stem, feeds, self._captions.length)


def export_text_encoder(
    model: Any, folder: str | Path, stem: str = "text_encoder", lowering: Lowering = CPU
) -> list[str]:
    """Writes the graph of a `transformers.CLIPTextModel` into `folder`; returns the names of its files."""
    with lowering.open(folder, stem) as ops:
        g = ops.g
        ids = g.input("input_ids", "int64", ["batch", "length"])
        tokens = g.op("Gather", g.weight(model.embeddings.token_embedding.weight), ids)
        table = g.weight(model.embeddings.position_embedding.weight)
        length = g.dimension(ids, 1)
        positions = g.op("Slice", table, g.ints(0), length, g.ints(0))
        x = g.op("Add", tokens, positions)
        x = clip_layers(ops, x, model, model.final_layer_norm, causal=True)
        g.output("hidden_states", x, "float32", ["batch", "length", model.config.hidden_size])
        g.save()
        return g.files
