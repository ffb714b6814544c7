"""The trainable modules of a run, abstractor and LoRA: made, checked against the frozen parts, loaded, saved.

OUT/abstractor is what `VideoAbstractor.save_pretrained` writes, OUT/adapter what PEFT writes. trained_on.json
beside the weights holds the fingerprints of the frozen parts that they were trained on.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from g4v._files import atomic_folder, one_line, read_json, write_json
from g4v._memory import check_memory, require_memory_to_save
from g4v.model.abstractor import VideoAbstractor
from g4v.model.config import AbstractorConfig
from g4v.model.presets import PRESETS
from g4v.train.errors import TrainingError
from g4v.train.settings import Settings

_TRAINED_ON = "trained_on.json"
_PREFIX = "base_model.model."


def new_abstractor(settings: Settings, memory_size: int, output_size: int) -> VideoAbstractor:
    """An abstractor with random weights (the caller seeds), in the shape of the preset `settings.sizes`.

    memory_size: width of the encoder's tokens, which the abstractor takes over. output_size: width of the
    language model's embeddings. TrainingError: the width is no multiple of the preset's attention heads.
    """
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
    folder: Path, memory_size: int, output_size: int, fingerprints: Mapping[str, str], new_llm: bool = False
) -> VideoAbstractor:
    """The abstractor of a folder. TrainingError: it is damaged, or of another encoder or language model.

    memory_size: width of the encoder's tokens. output_size: width of the language model's embeddings.
    fingerprints: of the frozen parts, by name. new_llm: accepts one that was made for a language model of
    another width; its output projection is then random (the caller seeds), all else is kept.
    """
    _refuse_pickles(folder, "model.safetensors")
    try:
        config = AbstractorConfig.from_file(folder / "config.json")
        if new_llm and config.output_size != output_size and config.memory_size == memory_size:
            _check_origin(folder, fingerprints, ("encoder",))
            return _with_new_output_projection(folder, config, output_size)
        for what, own, wanted in (
            ("encoder", config.memory_size, memory_size),
            ("language model", config.output_size, output_size),
        ):
            if own != wanted:
                raise TrainingError(
                    f"{folder}: the abstractor belongs to another {what}: its width is {own}, not {wanted}"
                )
        _check_origin(folder, fingerprints, ("encoder", "llm"))
        return VideoAbstractor.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError) as error:
        raise TrainingError(f"{folder}: cannot be read: {one_line(error)}") from None


def _with_new_output_projection(folder: Path, config: AbstractorConfig, output_size: int) -> VideoAbstractor:
    learned = VideoAbstractor.from_pretrained(folder).state_dict()
    model = VideoAbstractor(replace(config, output_size=output_size))
    fresh = model.state_dict()
    model.load_state_dict({n: learned[n] if learned[n].shape == t.shape else t for n, t in fresh.items()})
    return model


def save_abstractor(
    tensors: Mapping[str, Tensor], config: AbstractorConfig, folder: Path, fingerprints: Mapping[str, str]
) -> None:
    """Writes a folder that `VideoAbstractor.from_pretrained` loads; what stood there is replaced.

    tensors: by their names within the abstractor. TrainingError: it cannot be written.
    """
    with atomic_folder(folder, TrainingError) as work:
        require_memory_to_save(folder)
        save_file(
            {n: t.contiguous() for n, t in tensors.items()}, work / "model.safetensors", {"format": "pt"}
        )
        write_json(work / "config.json", asdict(config), TrainingError)
        write_json(work / _TRAINED_ON, dict(fingerprints), TrainingError)


def add_adapter(llm: Any, settings: Settings, folder: Path | None, fingerprints: Mapping[str, str]) -> Any:
    """The language model as a PeftModel with trainable LoRA factors: those of `folder`, or new ones.

    New factors follow `settings.lora_*`; the caller seeds. Layers of `settings.lora_targets` that the adapter
    of `folder` lacks get new ones with its rank and scale, which change nothing before they are trained; the
    default adds none.
    TrainingError: no such linear layer, or the adapter belongs to another language model.
    """
    from peft import LoraConfig, get_peft_model

    if folder is None:
        alpha: Any = settings.lora_alpha  # PEFT's annotation says int, and it divides by the rank
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.lora_r,
            lora_alpha=alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=list(settings.lora_targets),
            bias="none",
        )
        try:
            return get_peft_model(llm, config)
        except ValueError as error:
            raise TrainingError(f"lora_targets: {one_line(error)}") from None
    check_adapter(llm, folder, fingerprints)
    targets = settings.lora_targets
    return _widened(llm, folder, () if targets == Settings().lora_targets else targets)


def _widened(llm: Any, folder: Path, targets: Sequence[str]) -> Any:
    """The adapter of a folder, with new factors for the linear layers of `targets` that it has none for."""
    from peft import LoraConfig, PeftModel

    config: Any = LoraConfig.from_pretrained(str(folder), local_files_only=True)
    own = config.target_modules
    if not isinstance(own, str):  # a pattern says by itself which layers it means
        present = {name.rpartition(".")[2] for name, _ in llm.named_modules()}
        unknown = [name for name in targets if name not in present]
        if unknown:
            raise TrainingError(f"lora_targets: the language model has no {unknown[0]}")
        config.target_modules = sorted({*own, *targets})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # those of the new factors
        return PeftModel.from_pretrained(
            llm, str(folder), config=config, is_trainable=True, local_files_only=True
        )


def check_adapter(llm: Any, folder: Path, fingerprints: Mapping[str, str]) -> None:
    """TrainingError unless the PEFT folder holds LoRA factors of this very language model."""
    _refuse_pickles(folder, "adapter_model.safetensors")
    kind = read_json(folder / "adapter_config.json", TrainingError).get("peft_type")
    if kind != "LORA":
        raise TrainingError(f"{folder}: is a {kind} adapter, only LORA can be trained on")
    _check_origin(folder, fingerprints, ("llm",))
    try:
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except Exception as error:  # safetensors has its own class; a missing file is an OSError
        check_memory(error, str(folder))
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


def save_adapter(
    tensors: Mapping[str, Tensor], llm: Any, folder: Path, fingerprints: Mapping[str, str]
) -> None:
    """Writes a folder that PEFT loads; what stood there is replaced.

    tensors: by PEFT's names within the module, such as `base_model.model....lora_A.default.weight`. llm: the
    PeftModel, for its configuration. TrainingError: it cannot be written.
    """
    config = copy.deepcopy(llm.peft_config["default"])
    config.base_model_name_or_path = "../llm"
    config.inference_mode = True
    named = {name.replace(".default.", "."): t.contiguous() for name, t in tensors.items()}
    with atomic_folder(folder, TrainingError) as work:
        require_memory_to_save(folder)
        save_file(named, work / "adapter_model.safetensors", {"format": "pt"})
        config.save_pretrained(str(work))
        write_json(work / _TRAINED_ON, dict(fingerprints), TrainingError)


def hand_over(folder: Path, part: str, before: str, after: str) -> None:
    """Says in trained_on.json that weights of the frozen part with fingerprint `before` fit that of `after`.

    Weights of other parts, and those that say nothing, stay as they are. TrainingError: the file cannot be
    read or written.
    """
    path = folder / _TRAINED_ON
    if path.exists() and (origin := read_json(path, TrainingError)).get(part) == before:
        write_json(path, origin | {part: after}, TrainingError)


def _check_origin(folder: Path, fingerprints: Mapping[str, str], parts: tuple[str, ...]) -> None:
    """TrainingError where trained_on.json names other frozen parts.

    A folder that was not trained by g4v has no such file; the caller checks its shapes.
    """
    if not (folder / _TRAINED_ON).exists():
        return
    origin = read_json(folder / _TRAINED_ON, TrainingError)
    for part in parts:
        if part in origin and part in fingerprints and origin[part] != fingerprints[part]:
            name = "language model" if part == "llm" else part
            raise TrainingError(
                f"{folder}: was trained on another {name} (fingerprint {origin[part]}, this one has "
                f"{fingerprints[part]})"
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
    """The type of frozen weights: 16 bits where Lightning's `precision` computes products in 16 bits."""
    if precision.startswith("bf16"):
        return torch.bfloat16
    return torch.float16 if precision.startswith("16") else torch.float32
