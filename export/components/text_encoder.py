"""The text encoder's graph: input_ids int64 [B, L] -> hidden_states [B, L, D]; causal, no padding mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v.export.components.component import Component
from g4v.export.components.profile import ShapeProfile
from g4v.export.components.text_to_video import text_length, text_profile
from g4v.export.components.transformer import clip_layers
from g4v.export.graph.cpu import CPU
from g4v.export.graph.lowering import Lowering
from g4v.export.verify.comparison import Feeds, verify_text_encoder


class TextEncoder(Component):
    """The state of every token of a text, for the UNet."""

    name = "text_encoder"

    def load(self) -> Any:
        return self.checkpoint.text_encoder()

    def build(self, module: Any, folder: Path, stem: str, lowering: Lowering) -> list[str]:
        return export_text_encoder(module, folder, stem, lowering)

    def describe(self, module: Any) -> dict[str, Any]:
        return {"max_length": text_length(self.checkpoint), "hidden_size": module.config.hidden_size}

    @property
    def profile(self) -> ShapeProfile:
        return text_profile(self.checkpoint)

    def verify(self, module: Any, folder: Path, stem: str, feeds: Feeds = ()) -> float:
        return verify_text_encoder(module, folder, stem, feeds)


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
