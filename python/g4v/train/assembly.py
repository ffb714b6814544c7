"""The assembly of a stage: frozen and trainable modules put together, and what reads data for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from g4v.model.abstractor import VideoAbstractor
from g4v.model.assistant import Gpt4Video
from g4v.model.bases.video_language_checkpoint import VideoLanguageCheckpoint
from g4v.model.connector import Connector
from g4v.model.prompt import Encode, PromptTemplate, plain_encoder
from g4v.train.bases import (
    base_tokenizer,
    find_part,
    image_statistics,
    load_base_encoder,
    load_base_llm,
    published_base,
)
from g4v.train.clips import FrameReader
from g4v.train.errors import TrainingError
from g4v.train.rows import RowEncoder
from g4v.train.settings import Settings
from g4v.train.template import build_template
from g4v.train.trainable_modules import add_adapter, load_abstractor, new_abstractor
from g4v.video import FrameSampling


@dataclass(frozen=True)
class Assembly:
    """The assistant of a stage, and what reads data for it.

    stage: "stage1" or "stage2". model: only what the stage trains requires gradients. rows: makes tokens of
    rows. reader: makes the encoder's input of clips; None for an assistant without vision. fingerprints: of
    the frozen parts, by name.
    """

    stage: str
    model: Gpt4Video
    template: PromptTemplate
    rows: RowEncoder
    reader: FrameReader | None
    fingerprints: dict[str, str]


def load_assembly(
    settings: Settings, stage: str, fingerprints: Mapping[str, str], dtype: torch.dtype
) -> Assembly:
    """Loads what `prepare_bases` has put into OUT, and makes or loads what the stage trains.

    dtype: of the frozen weights; trained ones are float32. TrainingError: a part is missing or belongs to
    another one.
    """
    out = Path(settings.out)
    fingerprints = dict(fingerprints)
    torch.manual_seed(settings.seed)
    tokenizer = base_tokenizer(out)
    template = build_template(settings, tokenizer)
    llm = load_base_llm(out, dtype).requires_grad_(False)
    if dtype is torch.bfloat16 and (settings.accelerator == "cpu" or not torch.cuda.is_available()):
        # The gradient of PyTorch's fused attention takes a third of a step on CPUs in bfloat16.
        llm.set_attn_implementation("eager")
    encoder = load_base_encoder(out, dtype)
    abstractor: VideoAbstractor | Connector | None = None
    reader = None
    published = published_base(settings)
    if published is not None:
        abstractor = published.connector().requires_grad_(False)
        reader = _published_reader(published, settings)
    elif encoder is not None:
        widths = encoder.hidden_size, llm.config.hidden_size
        own = _load_or_make_abstractor(settings, stage, *widths, fingerprints)
        own.requires_grad_(stage == "stage1")
        if settings.frames == 1:
            # A single frame is read by the spatial queries alone: these would never get a gradient.
            for parameter in (own.temporal_query_tokens, *own.temporal_visual_fc.parameters()):
                parameter.requires_grad_(False)
        abstractor = own
        mean, std = image_statistics(out)
        reader = FrameReader(settings.frames, encoder.image_size, mean, std)
    elif stage == "stage1":
        raise TrainingError(
            "stage 1 trains the abstractor, and there is no encoder: give --encoder or --base"
        )
    if stage == "stage2":
        given = find_part(settings, "adapter")
        llm = add_adapter(llm, settings, None if given is None else Path(given), fingerprints)
    if settings.gradient_checkpointing:
        base: Any = llm.get_base_model() if stage == "stage2" else llm
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    encode = plain_encoder(tokenizer)
    rows = RowEncoder(
        template,
        encode,
        abstractor.config.output_tokens if abstractor is not None else 0,
        settings.max_length,
        settings.supervise,
        _opening_weights(settings, encode),
        reader.times if published is not None and reader is not None else None,
    )
    limit = llm.config.max_position_embeddings
    if settings.max_length > limit:
        raise TrainingError(
            f"max_length {settings.max_length} exceeds the language model's {limit} positions"
        )
    return Assembly(stage, Gpt4Video(encoder, abstractor, llm), template, rows, reader, fingerprints)


def _published_reader(published: VideoLanguageCheckpoint, settings: Settings) -> FrameReader:
    """Takes, resizes and normalises frames as the checkpoint's processor does; `settings.frames` at most."""
    mean, std = published.image_statistics
    sampling = FrameSampling(**{**published.frame_sampling, "frames": settings.frames})
    resizing = tuple(sorted(published.resizing.items()))
    return FrameReader(settings.frames, published.image_size, tuple(mean), tuple(std), sampling, resizing)


def _load_or_make_abstractor(
    settings: Settings, stage: str, memory: int, output: int, fingerprints: Mapping[str, str]
) -> VideoAbstractor:
    """memory: width of the encoder's tokens. output: width of the language model's embeddings."""
    trained = Path(settings.out) / "abstractor"
    given = find_part(settings, "abstractor")
    if stage == "stage2" and trained.is_dir() and settings.abstractor is None:
        return load_abstractor(trained, memory, output, fingerprints)
    if given is not None:
        return load_abstractor(Path(given), memory, output, fingerprints, new_llm=stage == "stage1")
    if stage == "stage2":
        raise TrainingError(
            f"stage 2 needs the abstractor of stage 1: train it into {settings.out} or give --abstractor"
        )
    return new_abstractor(settings, memory, output)


def _opening_weights(settings: Settings, encode: Encode) -> dict[int, float]:
    """Token id -> weight. An answer follows a space in the template."""
    return {encode(f" {word}", False)[0]: float(w) for word, w in settings.opening_weights.items()}
