"""How devices share the work, and in which precision they compute: Lightning's objects for the settings."""

from __future__ import annotations

from typing import Any

import torch

from g4v.train.errors import TrainingError
from g4v.train.settings import Settings

PRECISIONS = (
    "auto", "16", "32", "64", "bf16", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "32-true", "64-true",
)  # fmt: skip


def choose_precision(settings: Settings) -> str:
    """Lightning's name of the precision: bf16 where the GPU has it, 16 on older ones, 32 on a CPU.

    TrainingError: no such precision.
    """
    if settings.precision not in PRECISIONS:
        raise TrainingError(f"precision must be one of {', '.join(PRECISIONS)}, not {settings.precision!r}")
    if settings.precision != "auto":
        return settings.precision
    if settings.accelerator == "cpu" or not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"


def parse_devices(text: str) -> Any:
    """Numbers of devices as Lightning takes them: "2" -> 2, "0,2" -> [0, 2], "auto" -> "auto"."""
    if text == "auto":
        return text
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise TrainingError(f"devices must be a number, a list such as 0,2 or auto, not {text!r}") from None
    if "," in text:
        return numbers
    if numbers[0] < 1:
        raise TrainingError(f"devices must be at least 1, not {text}")
    return numbers[0]


def build_strategy(settings: Settings) -> Any:
    """What Lightning's `Trainer(strategy=...)` takes.

    fsdp and deepspeed split the frozen weights between the devices too. TrainingError: the strategy cannot
    run here, or another setting needs whole tensors and it splits them.
    """
    if settings.strategy in ("fsdp", "deepspeed"):
        _refuse_what_needs_whole_tensors(settings)
    if settings.strategy == "fsdp":
        if not torch.cuda.is_available():
            raise TrainingError("strategy fsdp needs GPUs, and PyTorch sees none; use ddp")
        from lightning.pytorch.strategies import FSDPStrategy
        from transformers.models.llama.modeling_llama import LlamaDecoderLayer

        return FSDPStrategy(auto_wrap_policy={LlamaDecoderLayer}, state_dict_type="full")
    if settings.strategy == "deepspeed":
        import importlib.util

        if importlib.util.find_spec("deepspeed") is None:
            raise TrainingError("strategy deepspeed needs the package deepspeed: pip install deepspeed")
        from lightning.pytorch.strategies import DeepSpeedStrategy

        return DeepSpeedStrategy(stage=3)
    if settings.strategy == "ddp":
        return "ddp"
    return "auto"


def _refuse_what_needs_whole_tensors(settings: Settings) -> None:
    for name, is_set in (
        ("optimizer muon", settings.optimizer == "muon"),
        ("weight_decay", settings.weight_decay > 0),
        ("ema", settings.ema is not None),
    ):
        if is_set:
            raise TrainingError(f"{name} needs whole tensors, which {settings.strategy} splits; use ddp")
