"""The assistant of a stage: its frozen and trained parts put together, and what reads data for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from g4v.model.assistant import Gpt4Video
from g4v.model.prompt import PromptTemplate, plain_encoder
from g4v.train.bases import (
    base_tokenizer,
    build_template,
    find_part,
    image_statistics,
    load_base_encoder,
    load_base_llm,
)
from g4v.train.clips import FrameReader
from g4v.train.errors import TrainingError
from g4v.train.rows import RowEncoder
from g4v.train.settings import Settings
from g4v.train.trainable_modules import add_adapter, load_abstractor, new_abstractor


@dataclass(frozen=True)
class Stage:
    """reader is None for an assistant without eyes. marks: fingerprints of the frozen parts by name."""

    name: str
    model: Gpt4Video
    template: PromptTemplate
    rows: RowEncoder
    reader: FrameReader | None
    marks: dict[str, str]


def assemble(settings: Settings, stage: str, marks: Mapping[str, str], dtype: torch.dtype) -> Stage:
    """Loads what `prepare_bases` put into OUT; only what the stage trains requires gradients.

    dtype: of the frozen weights; trained ones are float32.
    """
    out = Path(settings.out)
    marks = dict(marks)
    torch.manual_seed(settings.seed)
    tokenizer = base_tokenizer(out)
    template = build_template(settings, tokenizer)
    llm = load_base_llm(out, dtype).requires_grad_(False)
    if dtype is torch.bfloat16 and (settings.accelerator == "cpu" or not torch.cuda.is_available()):
        # The gradient of PyTorch's fused attention takes a third of a step on CPUs in bfloat16.
        llm.set_attn_implementation("eager")
    encoder = load_base_encoder(out, dtype)
    abstractor = reader = None
    if encoder is not None:
        abstractor = _abstractor(settings, stage, encoder.hidden_size, llm.config.hidden_size, marks)
        abstractor.requires_grad_(stage == "stage1")
        if settings.frames == 1:
            # A single frame is read by the spatial queries alone: these would never get a gradient.
            for part in (abstractor.temporal_query_tokens, *abstractor.temporal_visual_fc.parameters()):
                part.requires_grad_(False)
        mean, std = image_statistics(out)
        reader = FrameReader(settings.frames, encoder.image_size, mean, std)
    elif stage == "stage1":
        raise TrainingError(
            "stage 1 trains the abstractor, and there is no encoder: give --encoder or --base"
        )
    if stage == "stage2":
        llm = add_adapter(llm, settings, _adapter_start(settings), marks)
    if settings.gradient_checkpointing:
        base: Any = llm.get_base_model() if stage == "stage2" else llm
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    rows = RowEncoder(
        template,
        plain_encoder(tokenizer),
        abstractor.config.output_tokens if abstractor is not None else 0,
        settings.max_length,
        settings.supervise,
    )
    limit = llm.config.max_position_embeddings
    if settings.max_length > limit:
        raise TrainingError(
            f"max_length {settings.max_length} exceeds the language model's {limit} positions"
        )
    return Stage(stage, Gpt4Video(encoder, abstractor, llm), template, rows, reader, marks)


def _abstractor(settings: Settings, stage: str, memory: int, output: int, marks: Mapping[str, str]) -> Any:
    trained = Path(settings.out) / "abstractor"
    given = find_part(settings, "abstractor")
    if stage == "stage2" and trained.is_dir() and settings.abstractor is None:
        return load_abstractor(trained, memory, output, marks)
    if given is not None:
        return load_abstractor(Path(given), memory, output, marks, new_llm=stage == "stage1")
    if stage == "stage2":
        raise TrainingError(
            f"stage 2 needs the abstractor of stage 1: train it into {settings.out} or give --abstractor"
        )
    return new_abstractor(settings, memory, output)


def _adapter_start(settings: Settings) -> Path | None:
    given = find_part(settings, "adapter")
    return None if given is None else Path(given)
