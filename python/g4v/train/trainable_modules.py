"""The trained parts of a run: made, checked against the frozen ones, loaded and saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from g4v.model.abstractor import VideoAbstractor
from g4v.model.bases.errors import one_line
from g4v.model.config import PRESETS, AbstractorConfig
from g4v.train.errors import TrainingError
from g4v.train.files import read_json, whole_folder, write_json
from g4v.train.settings import Settings

_TRAINED_ON = "trained_on.json"
_PREFIX = "base_model.model."


def new_abstractor(settings: Settings, memory_size: int, output_size: int) -> VideoAbstractor:
    """Freshly initialised (the caller seeds), in the shape of the preset `sizes`, as wide as the encoder."""
    sizes = PRESETS[settings.sizes].abstractor
    head = sizes.hidden_size // sizes.num_heads
    if memory_size % head:
        raise TrainingError(
            f"the encoder's tokens have width {memory_size}, no multiple of {head}: give --abstractor"
        )
    return VideoAbstractor(
        replace(
            sizes,
            hidden_size=memory_size,
            memory_size=memory_size,
            num_heads=memory_size // head,
            intermediate_size=sizes.intermediate_size * memory_size // sizes.hidden_size,
            output_size=output_size,
        )
    )


def load_abstractor(
    folder: Path, memory_size: int, output_size: int, marks: Mapping[str, str], new_llm: bool = False
) -> Any:
    """VideoAbstractor of a folder; TrainingError where it belongs to another encoder or language model.

    new_llm: one that was made for a language model of another width will do: what it has learned to see
    stays, and its way into the language model starts anew (the caller seeds).
    """
    _refuse_pickles(folder, "model.safetensors")
    try:
        config = AbstractorConfig.from_file(folder / "config.json")
        if new_llm and config.output_size != output_size and config.memory_size == memory_size:
            _check_origin(folder, marks, ("encoder",))
            return _with_new_exit(folder, config, output_size)
        for what, own, wanted in (
            ("encoder", config.memory_size, memory_size),
            ("language model", config.output_size, output_size),
        ):
            if own != wanted:
                raise TrainingError(
                    f"{folder}: the abstractor belongs to another {what}: its width is {own}, not {wanted}"
                )
        _check_origin(folder, marks, ("encoder", "llm"))
        return VideoAbstractor.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise TrainingError(f"{folder}: cannot be read: {one_line(error)}") from None


def _with_new_exit(folder: Path, config: AbstractorConfig, output_size: int) -> VideoAbstractor:
    learned = VideoAbstractor.from_pretrained(folder).state_dict()
    model = VideoAbstractor(replace(config, output_size=output_size))
    fresh = model.state_dict()
    model.load_state_dict({n: learned[n] if learned[n].shape == t.shape else t for n, t in fresh.items()})
    return model


def save_abstractor(
    tensors: Mapping[str, Tensor], config: AbstractorConfig, folder: Path, marks: Mapping[str, str]
) -> None:
    with whole_folder(folder) as work:
        save_file(
            {n: t.contiguous() for n, t in tensors.items()}, work / "model.safetensors", {"format": "pt"}
        )
        write_json(work / "config.json", asdict(config))
        write_json(work / _TRAINED_ON, dict(marks))


def add_adapter(llm: Any, settings: Settings, folder: Path | None, marks: Mapping[str, str]) -> Any:
    """The language model with trainable LoRA factors: those of `folder`, or new ones (the caller seeds)."""
    from peft import LoraConfig, PeftModel, get_peft_model

    if folder is None:
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=list(settings.lora_targets),
            bias="none",
        )
        try:
            return get_peft_model(llm, config)
        except ValueError as error:
            raise TrainingError(f"lora_targets: {one_line(error)}") from None
    check_adapter(llm, folder, marks)
    return PeftModel.from_pretrained(llm, str(folder), is_trainable=True, local_files_only=True)


def check_adapter(llm: Any, folder: Path, marks: Mapping[str, str]) -> None:
    """TrainingError unless the PEFT folder holds LoRA factors of this very language model."""
    _refuse_pickles(folder, "adapter_model.safetensors")
    kind = read_json(folder / "adapter_config.json").get("peft_type")
    if kind != "LORA":
        raise TrainingError(f"{folder}: is a {kind} adapter, only LORA can be trained on")
    _check_origin(folder, marks, ("llm",))
    try:
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except Exception as error:  # safetensors has its own class; a missing file is an OSError
        raise TrainingError(f"{folder}: cannot be read: {one_line(error)}") from None
    if not shapes:
        raise TrainingError(f"{folder}: holds no tensor")
    for name, shape in shapes.items():
        module, _, kind = name.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        if not name.startswith(_PREFIX) or kind not in ("lora_A", "lora_B"):
            raise TrainingError(f"{folder}: {name} is no LoRA factor")
        try:
            weight = llm.get_submodule(module).weight
        except AttributeError:
            raise TrainingError(f"{folder}: belongs to another model: this one has no {module}") from None
        own, wanted = (shape[-1], weight.shape[1]) if kind == "lora_A" else (shape[0], weight.shape[0])
        if len(shape) != 2 or own != wanted:
            raise TrainingError(
                f"{folder}: belongs to another model: {module}.{kind} is {list(shape)}, the weight "
                f"{list(weight.shape)}"
            )


def save_adapter(tensors: Mapping[str, Tensor], llm: Any, folder: Path, marks: Mapping[str, str]) -> None:
    """A folder that `peft` loads. tensors: by PEFT's names within the module, such as
    `base_model.model....lora_A.default.weight`; llm: the PeftModel, for its configuration.
    """
    import copy

    config = copy.deepcopy(llm.peft_config["default"])
    config.base_model_name_or_path = "../llm"
    config.inference_mode = True
    named = {name.replace(".default.", "."): t.contiguous() for name, t in tensors.items()}
    with whole_folder(folder) as work:
        save_file(named, work / "adapter_model.safetensors", {"format": "pt"})
        config.save_pretrained(str(work))
        write_json(work / _TRAINED_ON, dict(marks))


def _check_origin(folder: Path, marks: Mapping[str, str], parts: tuple[str, ...]) -> None:
    """What g4v trained says what it was trained on; what came from elsewhere is checked by shapes alone."""
    if not (folder / _TRAINED_ON).exists():
        return
    origin = read_json(folder / _TRAINED_ON)
    for part in parts:
        if part in origin and part in marks and origin[part] != marks[part]:
            name = "language model" if part == "llm" else part
            raise TrainingError(
                f"{folder}: was trained on another {name} (fingerprint {origin[part]}, this one has "
                f"{marks[part]})"
            )


def _refuse_pickles(folder: Path, wanted: str) -> None:
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder")
    if (folder / wanted).exists():
        return
    pickles = [p.name for p in sorted(folder.iterdir()) if p.suffix in (".bin", ".pt", ".pth", ".ckpt")]
    if pickles:
        raise TrainingError(
            f"{folder / pickles[0]}: is a pickle, which can carry code; convert it with python -m "
            f"g4v.model.bases convert, or save it again with safe_serialization=True"
        )
    raise TrainingError(f"{folder / wanted}: no such file")


def dtype_of(precision: str) -> torch.dtype:
    """What frozen weights are stored in: half where the products are computed in half anyway."""
    if precision.startswith("bf16"):
        return torch.bfloat16
    return torch.float16 if precision.startswith("16") else torch.float32
