"""Every option of a training run: name, default and meaning, written once.

The command line, YAML files and presets all use these names (g4v.train.configuration).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from g4v.train.errors import TrainingError

STAGES = ("stage1", "stage2")
PRESETS = ("tiny", "small", "gpt4video-7b")
STRATEGIES = ("auto", "ddp", "fsdp", "deepspeed")


def _option(default: Any, help: str, group: str, choices: tuple[str, ...] | None = None) -> Any:
    metadata = {"help": help, "group": group, "choices": choices}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What one stage is trained with. The defaults are the paper's where it names them.

    TrainingError: a value is out of its range.
    """

    out: str = _option("runs/gpt4video", "folder of the run, as python -m g4v.export reads it", "files")
    base: str | None = _option(
        None,
        "folder with llm/ and perhaps encoder/, abstractor/, t2v/, ... to start from; for stage 2 also a "
        "checkpoint of SmolVLM2, LLaVA-NeXT-Video or Video-LLaVA",
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
        None,
        "PEFT LoRA folder that stage 2 starts from, with its rank and scale; none starts anew",
        "files",
    )
    t2v: str | None = _option(None, "diffusers text-to-video folder, handed on to the exporter", "files")
    frame_checker: str | None = _option(None, "frame checker folder, handed on likewise", "files")
    copy_bases: bool = _option(False, "copy the base folders into the run instead of linking them", "files")
    result_dtype: str = _option(
        "float32", "type of the stored result; float16 rounds the weights", "files", ("float32", "float16")
    )

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
    longer_clips: float = _option(
        0.0, "share of the clips of the shapes world that are sampled from longer ones", "data"
    )
    max_length: int = _option(512, "tokens of a training sequence, video tokens included", "data")
    supervise: str = _option("assistant", "whose words count in the loss", "data", ("assistant", "both"))

    max_epochs: int = _option(10, "passes over the data", "optimiser")
    max_steps: int | None = _option(None, "optimiser steps, in place of max_epochs", "optimiser")
    batch_size: int = _option(8, "rows per device and backward pass", "optimiser")
    accumulate_grad_batches: int = _option(1, "backward passes per optimiser step", "optimiser")
    optimizer: str = _option(
        "adam", "muon updates matrices by Muon and all else by Adam", "optimiser", ("adam", "muon")
    )
    learning_rate: float = _option(1e-4, "in the first epoch, after the warm-up", "optimiser")
    warmup: int = _option(0, "steps over which the learning rate rises linearly from 0", "optimiser")
    gamma: float = _option(0.85, "factor of the learning rate after every epoch", "optimiser")
    cooldown: float = _option(
        0.0, "share of the steps, the last ones, over which the learning rate falls to 0", "optimiser"
    )
    adam_beta2: float = _option(0.999, "decay of Adam's mean of squared gradients", "optimiser")
    weight_decay: float = _option(
        0.0, "decay of matrices per step, as AdamW applies it: times the learning rate", "optimiser"
    )
    ema: float | None = _option(
        None, "decay of a moving average of the weights, which is then the result; none: the last weights",
        "optimiser",
    )  # fmt: skip
    gradient_clip: float | None = _option(None, "largest norm of the gradient", "optimiser")
    seed: int = _option(0, "of the order of rows, first weights and dropout", "optimiser")
    lora_r: int = _option(16, "rank of the LoRA factors", "optimiser")
    lora_alpha: float = _option(16, "the LoRA update is scaled by alpha / r", "optimiser")
    lora_dropout: float = _option(0.1, "dropout before the LoRA factors", "optimiser")
    lora_targets: tuple[str, ...] = _option(
        ("q_proj", "v_proj"),
        "linear layers that get LoRA factors, beside those of an adapter where others are named (repeatable)",
        "optimiser",
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
    minutes: float | None = _option(
        None, "stop after this time with a checkpoint, for --resume, and the result so far", "run"
    )
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
    opening_weights: dict[str, Any] = _option(
        {}, "words and their weights in the loss where an answer begins with them, such as Yes and No", "yaml"
    )
    llm_sizes: dict[str, Any] = _option({}, "LlamaConfig for --dry-run where no llm is given", "yaml")

    def __post_init__(self) -> None:
        positive = (
            "num_nodes frames max_length max_epochs batch_size accumulate_grad_batches learning_rate gamma "
            "lora_r lora_alpha checkpoint_every log_every max_steps gradient_clip minutes device_memory "
            "device_tflops"
        ).split()
        for name in positive:
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise TrainingError(f"{name} must be above 0 and finite, not {value}")
        for name in ("num_workers", "seed", "warmup"):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} must be at least 0, not {getattr(self, name)}")
        if not 0 <= self.weight_decay < float("inf"):
            raise TrainingError(f"weight_decay must be at least 0 and finite, not {self.weight_decay}")
        for name in ("cooldown", "longer_clips"):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{name} must be from 0 to 1, not {getattr(self, name)}")
        for name in ("lora_dropout", "adam_beta2", "ema"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise TrainingError(f"{name} must be at least 0 and below 1, not {value}")
        self._check_opening_weights()
        for item in fields(self):
            choices, value = item.metadata["choices"], getattr(self, item.name)
            if choices and value not in choices:
                raise TrainingError(f"{item.name} must be one of {', '.join(choices)}, not {value!r}")

    def _check_opening_weights(self) -> None:
        for word, weight in self.opening_weights.items():
            if (
                not isinstance(word, str) or not word
            ):  # YAML reads Yes and No without quotes as true and false
                raise TrainingError(f"opening_weights: {word!r} is not a word; write words in quotes")
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not number or not 0 < weight < float("inf"):
                raise TrainingError(
                    f"opening_weights: the weight of {word} must be above 0 and finite, not {weight!r}"
                )
        if self.opening_weights and self.supervise != "assistant":
            raise TrainingError("opening_weights need supervise: assistant, where answers alone have labels")
