"""Every option of a training run: name, default and meaning, written once.

The command line, YAML files and presets all use these names. Later wins: defaults, preset, its section of the
stage, configuration file, its section of the stage, command line.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from g4v.train.errors import TrainingError

STAGES = ("stage1", "stage2")
PRESETS = ("tiny", "small", "gpt4video-7b")
STRATEGIES = ("auto", "ddp", "fsdp", "deepspeed")
DEFAULT_CONFIG = Path("g4v-train.yaml")
"""Read where no --config is given and the file is there."""


def _option(default: Any, help: str, group: str, choices: tuple[str, ...] | None = None) -> Any:
    metadata = {"help": help, "group": group, "choices": choices}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What one stage is trained with. The defaults are the paper's where it names them."""

    out: str = _option("runs/gpt4video", "folder of the run, as python -m g4v.export reads it", "files")
    base: str | None = _option(
        None,
        "folder with llm/ and perhaps encoder/, abstractor/, t2v/, ... to start from",
        "files",
    )
    llm: str | None = _option(None, "LlamaForCausalLM: folder, GGUF file or hub name", "files")
    encoder: str | None = _option(
        None, 'CLIP vision model or g4v encoder: folder or hub name; "tiny" is the embedded one', "files"
    )
    abstractor: str | None = _option(
        None, 'abstractor folder to start from; "tiny" is the embedded one; none starts anew', "files"
    )
    adapter: str | None = _option(
        None, "PEFT LoRA folder that stage 2 starts from; none starts anew", "files"
    )
    t2v: str | None = _option(None, "diffusers text-to-video folder, handed on to the exporter", "files")
    frame_checker: str | None = _option(None, "frame checker folder, handed on likewise", "files")
    copy_bases: bool = _option(False, "copy the base folders into the run instead of linking them", "files")

    data: tuple[str, ...] = _option(
        (), 'data file (repeatable), or "shapes:N", N dialogues of the shapes world', "data"
    )
    format: str = _option("auto", "format of the data files; auto looks at each", "data")
    split: str = _option("train", "split of files that hold several", "data")
    video_root: str | None = _option(None, "folder of the videos; none is the data file's own", "data")
    on_error: str = _option("skip", "what a bad row does", "data", ("skip", "stop"))
    feature_cache: str | None = _option(
        None, "folder where the frozen encoder's features are kept, so that each clip is encoded once", "data"
    )
    num_workers: int = _option(2, "processes per device that decode video; 0 decodes in the trainer", "data")
    frames: int = _option(8, "frames sampled from a clip", "data")
    max_length: int = _option(512, "tokens of a training sequence, video tokens included", "data")
    supervise: str = _option("assistant", "whose words count in the loss", "data", ("assistant", "both"))

    max_epochs: int = _option(10, "passes over the data", "optimiser")
    max_steps: int | None = _option(None, "optimiser steps, in place of max_epochs", "optimiser")
    batch_size: int = _option(8, "rows per device and backward pass", "optimiser")
    accumulate_grad_batches: int = _option(1, "backward passes per optimiser step", "optimiser")
    learning_rate: float = _option(1e-4, "Adam's, in the first epoch", "optimiser")
    gamma: float = _option(0.85, "factor of the learning rate after every epoch", "optimiser")
    cooldown: float = _option(
        0.0, "share of the steps, the last ones, over which the learning rate falls to 0", "optimiser"
    )
    gradient_clip: float | None = _option(None, "largest norm of the gradient", "optimiser")
    seed: int = _option(0, "of the order of rows, first weights and dropout", "optimiser")
    lora_r: int = _option(16, "rank of the LoRA factors", "optimiser")
    lora_alpha: float = _option(16, "the LoRA update is scaled by alpha / r", "optimiser")
    lora_dropout: float = _option(0.1, "dropout before the LoRA factors", "optimiser")
    lora_targets: tuple[str, ...] = _option(
        ("q_proj", "v_proj"), "linear layers that get LoRA factors (repeatable)", "optimiser"
    )

    accelerator: str = _option("auto", "auto, cpu, gpu, ... as Lightning names them", "devices")
    devices: str = _option("auto", 'number of devices on each node, a list such as "0,2", or auto', "devices")
    num_nodes: int = _option(1, "machines", "devices")
    strategy: str = _option("auto", "how devices share the work", "devices", STRATEGIES)
    precision: str = _option(
        "auto", "32, bf16, 16, ... as Lightning names them; auto asks the device", "devices"
    )
    gradient_checkpointing: bool = _option(
        False, "keep one activation per layer of the language model and compute the others again", "devices"
    )

    resume: bool = _option(False, "go on from the last checkpoint in OUT, if there is one", "run")
    checkpoint_every: int = _option(200, "optimiser steps between checkpoints", "run")
    log_every: int = _option(10, "optimiser steps between lines of the log", "run")
    dry_run: bool = _option(False, "print memory per device and time for each strategy, and stop", "run")
    device_memory: float | None = _option(
        None, "GB of one device, for --dry-run; none asks the device", "run"
    )
    device_tflops: float | None = _option(
        None, "16-bit TFLOP/s of one device, for --dry-run; none measures this machine's", "run"
    )
    progress: bool = _option(True, "show a progress bar", "run")

    # In YAML files alone.
    name: str = _option("gpt4video", "name of the exported bundle", "yaml")
    assistant: str = _option("GPT4Video", "what the assistant is called in its prompt", "yaml")
    prompt: dict[str, Any] = _option({}, "changes to the prompt template (PromptTemplate)", "yaml")
    generation: dict[str, Any] = _option({}, "generation defaults of the bundle", "yaml")
    licences: tuple[dict[str, str], ...] = _option((), "licences of the bundle", "yaml")
    sizes: str = _option("gpt4video-7b", "preset whose sizes a new abstractor has", "yaml", PRESETS)
    mixture: dict[str, Any] = _option(
        {}, "kinds of dialogues of the shapes world and their shares; none: the stage's own", "yaml"
    )
    leave_out: tuple[str, ...] = _option(
        (), "intents of the shapes world, such as unknown, whose dialogues are drawn anew", "yaml"
    )
    llm_sizes: dict[str, Any] = _option({}, "LlamaConfig for --dry-run where no llm is given", "yaml")

    def __post_init__(self) -> None:
        positive = (
            "num_nodes frames max_length max_epochs batch_size accumulate_grad_batches learning_rate gamma "
            "lora_r lora_alpha checkpoint_every log_every max_steps gradient_clip device_memory device_tflops"
        ).split()
        for name in positive:
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise TrainingError(f"{name} must be above 0 and finite, not {value}")
        if self.num_workers < 0 or self.seed < 0:
            name = "num_workers" if self.num_workers < 0 else "seed"
            raise TrainingError(f"{name} must be at least 0, not {getattr(self, name)}")
        if not 0 <= self.cooldown <= 1:
            raise TrainingError(f"cooldown must be from 0 to 1, not {self.cooldown}")
        if not 0 <= self.lora_dropout < 1:
            raise TrainingError(f"lora_dropout must be at least 0 and below 1, not {self.lora_dropout}")
        for item in fields(self):
            choices, value = item.metadata["choices"], getattr(self, item.name)
            if choices and value not in choices:
                raise TrainingError(f"{item.name} must be one of {', '.join(choices)}, not {value!r}")


@cache
def _hints() -> dict[str, tuple[Any, bool]]:
    """Name -> (its type with what it holds, such as tuple[str, ...]; whether None is allowed)."""
    found = {}
    for name, hint in typing.get_type_hints(Settings).items():
        options = typing.get_args(hint) if typing.get_origin(hint) is types.UnionType else (hint,)
        kind = next(option for option in options if option is not type(None))
        found[name] = (kind, len(options) > 1)
    return found


def field_types() -> dict[str, tuple[Any, bool]]:
    """Name -> (its type: str, int, float, bool, tuple or dict; whether None is allowed)."""
    return {name: (typing.get_origin(kind) or kind, none) for name, (kind, none) in _hints().items()}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; TrainingError: missing, no YAML, or no mapping."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that stands twice, of which YAML's own would keep the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key} stands twice", node.start_mark
                    )
            return super().construct_mapping(node, deep)

    try:
        values = yaml.load(path.read_text("utf-8"), Loader)  # noqa: S506  a SafeLoader
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise TrainingError(f"{path}: cannot be read: {' '.join(str(error).split())[:200]}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise TrainingError(f"{path}: is not a mapping of settings")
    return values


def check_values(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings with their right types; TrainingError names an unknown key or a value of another type."""
    checked = {}
    for name, value in values.items():
        if name not in field_types():
            raise TrainingError(f"{where}: unknown setting {name!r}")
        kind, optional = field_types()[name]
        try:
            checked[name] = None if value is None and optional else _coerce(_hints()[name][0], value)
        except (TypeError, ValueError):
            wanted = "list" if kind is tuple else "mapping" if kind is dict else kind.__name__
            raise TrainingError(f"{where}: {name} must be of type {wanted}, not {value!r}") from None
    return checked


def _coerce(kind: Any, value: Any) -> Any:
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        item = typing.get_origin(item) or item
        items = [value] if isinstance(value, item) else value
        if not isinstance(items, list | tuple) or not all(isinstance(one, item) for one in items):
            raise TypeError
        return tuple(items)
    if kind is float and not isinstance(value, bool):
        return float(value)  # YAML reads 1e-4, without a point, as text
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # devices: 2, precision: 16
    kind = typing.get_origin(kind) or kind
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value


def load_settings(
    stage: str, preset: str | None, config: str | Path | None, given: Mapping[str, Any]
) -> Settings:
    """The settings of one stage. given: the command line's, of the right types already."""
    values: dict[str, Any] = {}
    sources = []
    if preset is not None:
        if preset not in PRESETS:
            raise TrainingError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
        sources.append(Path(__file__).parent / "presets" / f"{preset}.yaml")
    if config is not None:
        sources.append(Path(config))
    elif DEFAULT_CONFIG.is_file():
        sources.append(DEFAULT_CONFIG)
    for path in sources:
        read = read_yaml(path)
        sections = {name: read.pop(name, None) or {} for name in STAGES}
        for name, section in sections.items():
            if not isinstance(section, dict):
                raise TrainingError(f"{path}: {name} is not a mapping of settings")
            sections[name] = check_values(section, f"{path}: {name}")
        values.update(check_values(read, str(path)))
        values.update(sections[stage])
    values.update(given)
    return Settings(**values)
