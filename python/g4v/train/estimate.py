"""`--dry-run`: what a run will need, before anything is loaded."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from g4v._files import read_json
from g4v.model.abstractor import VideoAbstractor
from g4v.model.bases import CheckpointError, layout
from g4v.model.bases.hub import fetch_configuration
from g4v.model.bases.llm import read_config
from g4v.model.bases.mplug_owl import is_mplug_owl
from g4v.model.bases.video_language_checkpoint import VideoLanguageCheckpoint
from g4v.model.bases.vision import check_vision, read_clip_config
from g4v.model.config import AbstractorConfig, VideoTowerConfig
from g4v.model.presets import PRESETS
from g4v.model.vision import build_encoder
from g4v.train.bases import check_stage, find_part, published_base
from g4v.train.batch_sampler import steps_per_epoch
from g4v.train.datasets import open_rows
from g4v.train.errors import TrainingError
from g4v.train.memory import Memory, Sizes, Work, count_flops, count_memory, trained_parameters
from g4v.train.settings import Settings
from g4v.train.strategies import choose_precision, parse_devices
from g4v.train.trainable_modules import new_abstractor

_GB = 1e9
_CONTEXT = 0.7 * _GB  # a CUDA context with its libraries
_SLACK = 1.06  # an allocator's blocks are larger than what is asked for
_UTILISATION = 0.4  # of a device's products in a training step; 0.3 to 0.5 is usual
_SUPERVISED = 0.5  # share of a row's tokens that are an answer's, where nothing else counts


def find_sizes(settings: Settings) -> Sizes:
    """Sizes of a run, from the configuration files of its bases, else from the preset `settings.sizes`.

    No weights are read. TrainingError: a base is missing, or a layer has no linear layer of `lora_targets`.
    """
    published = published_base(settings)
    llm = _llm_config(settings) if published is None else published.text_config()
    with torch.device("meta"):
        from transformers import LlamaForCausalLM

        # A tied model counts its embeddings once.
        language: Any = LlamaForCausalLM(llm)
    visual = _visual_sizes(settings, llm.hidden_size) if published is None else _published_sizes(published)
    head = llm.head_dim or llm.hidden_size // llm.num_attention_heads
    shapes = {
        name.rpartition(".")[2]: tuple(module.weight.shape)
        for name, module in language.model.layers[0].named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    missing = [name for name in settings.lora_targets if name not in shapes]
    if missing:
        raise TrainingError(f"lora_targets: a layer has no {missing[0]}; it has {', '.join(shapes)}")
    per_layer = sum(settings.lora_r * sum(shapes[name]) for name in settings.lora_targets)
    return Sizes(
        hidden=llm.hidden_size,
        layers=llm.num_hidden_layers,
        intermediate=llm.intermediate_size,
        query_width=head * llm.num_attention_heads,
        key_width=head * llm.num_key_value_heads,
        vocabulary=llm.vocab_size,
        llm_parameters=_count(language),
        lora_parameters=per_layer * llm.num_hidden_layers,
        lora_targets=len(settings.lora_targets),
        lora_rank=settings.lora_r,
        **visual,
    )


def _visual_sizes(settings: Settings, width: int) -> dict[str, int]:
    """Those of encoder and abstractor, before a language model of this width."""
    with torch.device("meta"):
        tower = build_encoder(_encoder_config(settings))
        given = find_part(settings, "abstractor")
        if given is not None:
            abstractor = VideoAbstractor(AbstractorConfig.from_file(Path(given) / "config.json"))
        else:
            abstractor = new_abstractor(settings, tower.hidden_size, width)
    sizes = abstractor.config
    intermediate = PRESETS[settings.sizes].encoder.get("intermediate_size", 4 * sizes.hidden_size)
    return {
        "abstractor_hidden": sizes.hidden_size,
        "abstractor_layers": sizes.num_layers,
        "abstractor_intermediate": sizes.intermediate_size,
        "queries": sizes.num_queries + (sizes.num_temporal_queries if settings.frames > 1 else 0),
        "abstractor_parameters": _count(abstractor),
        "encoder_parameters": _count(tower),
        "encoder_intermediate": intermediate,
        "tokens_per_frame": tower.tokens_per_frame,
        "image_size": tower.image_size,
    }


def _published_sizes(published: VideoLanguageCheckpoint) -> dict[str, int]:
    """Those of tower and connector of a published video language model."""
    counts = {
        part: sum(math.prod(shape) for shape in published.shapes(part).values())
        for part in ("encoder", "abstractor")
    }
    tower = published.tower_sizes
    return {
        "abstractor_hidden": tower.features,
        "abstractor_parameters": counts["abstractor"],
        "encoder_parameters": counts["encoder"],
        "encoder_width": tower.width,
        "encoder_intermediate": tower.intermediate,
        "encoder_states": tower.states,
        "tokens_per_frame": published.tokens_per_frame,
        "image_size": published.image_size,
        "frame_tokens": published.video_tokens,
    }


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _llm_config(settings: Settings) -> Any:
    from transformers import LlamaConfig

    source = find_part(settings, "llm")
    if source is not None:
        place = fetch_configuration(source)
        if place.is_dir() and is_mplug_owl(place):  # its weights need not be there
            return layout.llama_config(read_json(place / "config.json", CheckpointError))
        return read_config(place)
    if settings.llm_sizes:
        return LlamaConfig(**settings.llm_sizes)
    return PRESETS[settings.sizes].llama_config(32_000)


def _encoder_config(settings: Settings) -> Any:
    source = find_part(settings, "encoder")
    if source is None:
        return PRESETS[settings.sizes].encoder_config()
    place = fetch_configuration(source)
    check_vision(place)
    values = read_json(place / "config.json", CheckpointError)
    if values.get("flavour") == "mplug-owl-video":
        return VideoTowerConfig.from_file(place / "config.json")
    return layout.encoder_config(values) if is_mplug_owl(place) else read_clip_config(place)


def plan_work(settings: Settings, stage: str, frame_tokens: int = 0) -> Work:
    """A backward pass in the worst case: every row is as long as max_length, and every row has a clip.

    frame_tokens: video tokens of a frame, of which no more are taken than fit into a row; 0: a clip's number
    of tokens does not depend on its frames. TrainingError: not even one frame fits.
    """
    frames = settings.frames
    if frame_tokens:
        frames = min(frames, (settings.max_length - 1) // frame_tokens)
    if frames < 1:
        raise TrainingError(
            f"max_length is {settings.max_length}, and a frame alone has {frame_tokens} video tokens; give a "
            "larger --max-length"
        )
    share = 1.0 if settings.supervise == "both" else _SUPERVISED
    half = not choose_precision(settings).startswith(("32", "64"))
    gpu = settings.accelerator != "cpu" and (torch.cuda.is_available() or settings.device_memory is not None)
    if gpu and settings.precision == "auto":
        half = True
    return Work(
        stage=stage,
        rows=settings.batch_size,
        length=settings.max_length,
        labels=int(settings.batch_size * settings.max_length * share),
        clips=settings.batch_size,
        frames=frames,
        half=half,
        checkpointing=settings.gradient_checkpointing,
        cached=settings.feature_cache is not None,
        gpu=gpu,
        dropout=settings.lora_dropout > 0,
        averaged=settings.ema is not None,
    )


def print_estimate(settings: Settings, stage: str) -> None:
    """Prints memory per device for each strategy, and the time of a step, an epoch and the run."""
    check_stage(settings, stage)
    sizes = find_sizes(settings)
    # Without a GPU here and without a word about the device, the run is taken to be meant for one.
    device = settings
    if settings.accelerator == "auto" and not torch.cuda.is_available() and settings.device_memory is None:
        device = replace(settings, device_memory=80.0)
    work = plan_work(device, stage, sizes.frame_tokens)
    devices = _device_count(settings)
    trained = trained_parameters(sizes, stage)
    total = sizes.llm_parameters + sizes.encoder_parameters + sizes.abstractor_parameters
    total += sizes.lora_parameters if stage == "stage2" else 0
    kind = "16-bit products" if work.half else "32-bit products"
    print(f"{stage}: {total / 1e9:.3f} B parameters, {trained / 1e6:.2f} M of them trained; {kind}")
    print(
        f"  batch {settings.batch_size} x {settings.max_length} tokens, {work.frames} frames, "
        f"gradient checkpointing {'on' if work.checkpointing else 'off'}, {devices} devices"
    )
    print(f"  {'GB per device':<14}{'weights':>9}{'gradients':>11}{'Adam':>7}{'activations':>13}{'total':>8}")
    room = _device_memory(device)
    for strategy in ("single", "ddp", "fsdp", "deepspeed"):
        if (strategy == "single") != (devices == 1):
            continue
        memory = count_memory(sizes, work, strategy, devices)
        print("  " + _line(strategy, memory, work.gpu, room))
    if room is not None:
        print(f"  a device has {room / _GB:.0f} GB")
    _print_time(settings, stage, sizes, work, devices)


def device_total(memory: Memory, gpu: bool) -> float:
    """Bytes that the device reports as taken."""
    return memory.total * _SLACK + (_CONTEXT if gpu else 0)


def _line(strategy: str, memory: Memory, gpu: bool, room: float | None) -> str:
    total = device_total(memory, gpu)
    mark = "" if room is None or total <= room else "  does not fit"
    return (
        f"{strategy:<14}{memory.weights / _GB:>9.2f}{memory.gradients / _GB:>11.2f}"
        f"{memory.optimizer / _GB:>7.2f}{(memory.activations + memory.buffers) / _GB:>13.2f}"
        f"{total / _GB:>8.2f}{mark}"
    )


def _device_count(settings: Settings) -> int:
    devices = parse_devices(settings.devices)
    if devices == "auto":
        devices = max(1, torch.cuda.device_count())
    return (len(devices) if isinstance(devices, list) else devices) * settings.num_nodes


def _device_memory(settings: Settings) -> float | None:
    if settings.device_memory is not None:
        return settings.device_memory * _GB
    if settings.accelerator != "cpu" and torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory)
    return None


def _print_time(settings: Settings, stage: str, sizes: Sizes, work: Work, devices: int) -> None:
    speed, origin = _device_speed(settings, work)
    seconds = settings.accumulate_grad_batches * count_flops(sizes, work) / (speed * _UTILISATION)
    text = f"  {seconds:.3g} s a step at {_UTILISATION:.0%} of {speed / 1e12:.3g} TFLOP/s ({origin})"
    if settings.data:
        from g4v.model.prompt import PromptTemplate

        rows = len(open_rows(settings, stage, PromptTemplate(turn_end_id=0)))
        per_epoch = steps_per_epoch(rows, settings.batch_size * settings.accumulate_grad_batches * devices)
        steps = settings.max_steps or per_epoch * settings.max_epochs
        text += f"; {rows:,} rows make {steps:,} steps, {steps * seconds / 3600:.2f} h"
    print(text)
    print("  rows are taken to be as long as max_length: real ones need less")


def _device_speed(settings: Settings, work: Work) -> tuple[float, str]:
    """FLOP/s of one device, and where the number comes from."""
    if settings.device_tflops is not None:
        return settings.device_tflops * 1e12, "as given"
    gpu = work.gpu and torch.cuda.is_available()
    size, dtype = (8192, torch.bfloat16 if work.half else torch.float32) if gpu else (768, torch.float32)
    matrix = torch.randn(size, size, dtype=dtype, device="cuda" if gpu else "cpu")
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        if gpu:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best, "measured here" if gpu else "measured on this CPU; give --device-tflops"
