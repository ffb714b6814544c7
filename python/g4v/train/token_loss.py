"""The loss of a batch, token by token."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from g4v.model.assistant import Gpt4Video
from g4v.model.prompt import IGNORED


def token_losses(
    model: Gpt4Video, batch: dict[str, Any], frames: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Next-token cross-entropy of every position with a label.

    batch: ids int64 [B, L]; labels int64 [B, L]; perhaps weights float32 [B, L] of the labels; perhaps clips,
    pixels float [C, T, 3, S, S] or features float [C, T, N, d]. frames: T, for batches without clips.

    Returns the weighted losses float32 [labels], their rows int64 [labels], and where the batch has no clip
    a number that keeps the abstractor in the graph (every process must take part in every reduction of
    gradients), to be added with a factor of 0; None elsewhere.
    """
    ids, labels = batch["ids"], batch["labels"]
    tokens = _video_tokens(model, batch, frames)
    extra = None
    if "clips" not in batch and tokens is not None:
        extra, tokens = tokens.sum(), None
    embeds = model.embed(ids, tokens)
    llm: Any = model.llm
    base: Any = llm.get_base_model() if hasattr(llm, "peft_config") else llm
    hidden = base.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    # Logits of the positions with labels alone: of a whole batch they would take most of the memory.
    counted = labels[:, 1:] != IGNORED
    logits = base.lm_head(hidden[:, :-1][counted])
    losses = F.cross_entropy(logits.float(), labels[:, 1:][counted], reduction="none")
    if "weights" in batch:
        losses = losses * batch["weights"][:, 1:][counted]
    return losses, counted.nonzero()[:, 0], extra


def _video_tokens(model: Gpt4Video, batch: dict[str, Any], frames: int) -> Tensor | None:
    """[clips, Q + 1, D] of the batch; of a blank clip where it has none and the abstractor is trained."""
    abstractor: Any = model.abstractor
    if abstractor is None:
        return None
    first = next(abstractor.parameters())
    if "clips" in batch:
        clips = batch["clips"]
        if clips.dim() == 5:  # pixels; features have four dimensions
            assert model.encoder is not None
            with torch.no_grad():  # the encoder is frozen
                features = model.encoder(clips.to(next(model.encoder.parameters()).dtype))
            return model.encode_video(features=features)
        return model.encode_video(features=clips.to(first.dtype))
    if not first.requires_grad:
        return None
    shape = 1, frames, 1, abstractor.config.memory_size
    return model.encode_video(features=torch.zeros(shape, device=first.device, dtype=first.dtype))
