"""The text encoder's graph: input_ids int64 [B, L] -> hidden_states [B, L, D]; causal, no padding mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v.export.components.transformer import clip_layers
from g4v.export.graph.writer import Graph


def export_text_encoder(
    model: Any, folder: str | Path, stem: str = "text_encoder", kind: type[Graph] = Graph
) -> list[str]:
    """Writes the graph of a `transformers.CLIPTextModel` into `folder`; returns the names of its files."""
    with kind(folder, stem) as g:
        ids = g.input("input_ids", "int64", ["batch", "length"])
        tokens = g.op("Gather", g.weight(model.embeddings.token_embedding.weight), ids)
        table = g.weight(model.embeddings.position_embedding.weight)
        length = g.dimension(ids, 1)
        positions = g.op("Slice", table, g.ints(0), length, g.ints(0))
        x = g.op("Add", tokens, positions)
        x = clip_layers(g, x, model, model.final_layer_norm, causal=True)
        g.output("hidden_states", x, "float32", ["batch", "length", model.config.hidden_size])
        g.save()
        return g.files
