"""One conversion of a checkpoint: names and shapes are checked, then the run's folders are written."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from g4v._files import read_json, write_json
from g4v.model.bases import layout
from g4v.model.bases.checkpoint_source import TOKENIZER_FILES, CheckpointSource
from g4v.model.bases.errors import CheckpointError, of_kind
from g4v.model.bases.shards import check_checksums
from g4v.model.bases.weight_files import check_weights

_SPARE = 16 << 20  # bytes left for configuration files


class Conversion:
    """The two passes of `convert_checkpoint`: construction checks every name and shape, `write` writes.

    source: the checkpoint or delta file. llm, base: as for `convert_checkpoint`. notes: sentences about what
    was assumed. CheckpointError: a tensor is missing, left over, in two files or of another shape than
    config.json says.
    """

    def __init__(self, source: CheckpointSource, llm: Path | None, base: Path | None) -> None:
        self.source, self.llm, self.base = source, llm, base
        self.notes: list[str] = []
        self.shapes: dict[str, layout.Shapes] = {part: {} for part in layout.PARTS}
        self.bytes = 0
        self.llm_files: list[Path] = []
        for file in source.files:
            for part, tensors in source.read(file).items():
                twice = set(tensors) & set(self.shapes[part])
                if twice:
                    raise CheckpointError(f"{file}: {part} tensor {min(twice)} is in two shards")
                self.shapes[part].update(layout.shapes_of(tensors))
                if part == "llm" and llm:
                    continue
                self.bytes += sum(t.numel() * t.element_size() for t in tensors.values())
                if part == "llm" and tensors:
                    self.llm_files.append(file)
        if not any(self.shapes.values()):
            raise CheckpointError(f"{source.path}: holds no tensor of the model")
        self.configs: dict[str, Any] = {}
        self._check_language_model()
        for part in ("encoder", "abstractor"):
            if self.shapes[part] or not source.is_delta:
                self._check_visual(part)
        if self.shapes["adapter"]:
            self._check_adapter()

    def _check_language_model(self) -> None:
        source, where = self.source, str(self.source.path)
        outside = self.llm or (self.base / "llm" if self.base else None)
        if outside:
            check_weights(outside)
            values = read_json(outside / "config.json", CheckpointError)
            if values.get("model_type") != "llama":
                raise CheckpointError(f"{outside}: {of_kind(values.get('model_type'))}, not LlamaForCausalLM")
            self.configs["llm"] = layout.llama_config({"text_config": values})
        else:
            self.configs["llm"] = layout.llama_config(source.config)
        if self.llm_files:
            wanted = layout.expected_shapes("llm", self.configs["llm"])
            if "lm_head.weight" not in wanted:
                self.shapes["llm"].pop("lm_head.weight", None)  # tied: the embeddings again
            layout.check_part("llm", self.shapes["llm"], wanted, where, set())
        elif not outside:
            raise CheckpointError(f"{where}: has no language model; give --llm DIR or --base RUN")

    def _base_config(self, part: str) -> dict[str, Any] | None:
        file = self.base / part / "config.json" if self.base else None
        return read_json(file, CheckpointError) if file and file.exists() else None

    def _check_visual(self, part: str) -> None:
        found, inherited = self.shapes[part], self._base_config(part)
        if part == "encoder":
            config: Any = layout.encoder_config(self.source.config)
            config = type(config)(**inherited) if inherited else config
        else:
            widths = {shape[0] for name, shape in found.items() if name.endswith("mlp.w1.weight") and shape}
            width = widths.pop() if len(widths) == 1 else None
            config = layout.abstractor_config(self.source.config, self.configs["llm"].hidden_size, width)
            config = type(config)(**inherited) if inherited else config
        self.configs[part] = config
        wanted = layout.expected_shapes(part, config)
        optional = {name for name in wanted if layout.is_temporal(part, name)}
        missing = optional - set(found)
        if inherited:
            optional = set(wanted)
        elif missing != optional:
            optional = set()  # all or none: a gap among them is damage
        layout.check_part(part, found, wanted, str(self.source.path), optional)
        if missing and not inherited and part == "encoder":
            self.notes.append("no temporal weights: the encoder's temporal path is the identity")
        if missing and not inherited and part == "abstractor":
            self.notes.append("no temporal weights: the abstractor's temporal queries start at zero")

    def _check_adapter(self) -> None:
        found, where = self.shapes["adapter"], self.source.path
        weights = layout.expected_shapes("llm", self.configs["llm"])
        ranks = set()
        for name, shape in sorted(found.items()):
            module, kind = name.removeprefix("base_model.model.").removesuffix(".weight").rsplit(".", 1)
            other = "lora_B" if kind == "lora_A" else "lora_A"
            if name.replace(f".{kind}.", f".{other}.") not in found:
                raise CheckpointError(f"{where}: missing adapter tensor {module}.{other}")
            weight = weights.get(f"{module}.weight")
            size = None if weight is None else weight[1] if kind == "lora_A" else weight[0]
            if len(shape) != 2 or size != shape[1 if kind == "lora_A" else 0]:
                raise CheckpointError(
                    f"{where}: adapter tensor {module}.{kind} of shape {shape} does not fit the LLM"
                )
            ranks.add(shape[0 if kind == "lora_A" else 1])
        stated = self.source.options.get("llm_r")
        if len(ranks) != 1 or 0 in ranks or stated not in (None, *ranks):
            raise CheckpointError(f"{where}: adapter ranks {sorted(ranks)}, the options say {stated}")
        self.rank = ranks.pop()
        if "llm_alpha" not in self.source.options:
            self.notes.append("the delta does not say its LoRA alpha: 16 is assumed")

    def check_space(self, folder: Path) -> None:
        """CheckpointError if the disk of `folder` (or of its first existing parent) has no room."""
        while not folder.exists():
            folder = folder.parent
        copied = [f for root in (self.llm, self.base) if root for f in root.rglob("*") if f.is_file()]
        need = self.bytes + sum(f.stat().st_size for f in copied) + _SPARE
        free = shutil.disk_usage(folder).free
        if free < need:
            raise CheckpointError(
                f"{folder}: {free / 1e9:.1f} GB free, the conversion needs {need / 1e9:.1f} GB"
            )

    def write(self, run: Path) -> None:
        """Writes encoder/, abstractor/, llm/ and adapter/ into the empty folder `run`."""
        kept: dict[str, dict[str, Tensor]] = {"encoder": {}, "abstractor": {}, "adapter": {}}
        index: dict[str, str] = {}
        for file in self.source.files:
            check_checksums(file)
            parts = self.source.read(file)
            for part, tensors in kept.items():
                tensors.update({name: t.clone() for name, t in parts[part].items()})
            if file in self.llm_files:
                (run / "llm").mkdir(exist_ok=True)
                total = len(self.llm_files)
                name = f"model-{self.llm_files.index(file) + 1:05d}-of-{total:05d}.safetensors"
                name = name if total > 1 else "model.safetensors"
                chosen = {n: t for n, t in parts["llm"].items() if n in self.shapes["llm"]}
                _save(chosen, run / "llm" / name)
                index.update(dict.fromkeys(chosen, name))
        self._finish_language_model(run, index)
        for part in ("encoder", "abstractor"):
            self._write_visual(run, part, kept[part])
        if kept["adapter"]:
            self._write_adapter(run / "adapter", kept["adapter"])
        elif self.base and (self.base / "adapter").is_dir():
            shutil.copytree(self.base / "adapter", run / "adapter")

    def _finish_language_model(self, run: Path, index: dict[str, str]) -> None:
        folder = run / "llm"
        outside = self.llm or (self.base / "llm" if self.base else None)
        if not index:
            assert outside is not None  # seen to by _check_language_model
            shutil.copytree(outside, folder)
            return
        if len(self.llm_files) > 1:
            values = {"metadata": {"total_size": self.bytes}, "weight_map": dict(sorted(index.items()))}
            write_json(folder / "model.safetensors.index.json", values)
        config = self.configs["llm"]
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(folder)
        origin = outside or self.source.folder
        names = [name for name in TOKENIZER_FILES if (origin / name).exists()]
        if not {"tokenizer.json", "tokenizer.model"} & set(names):
            raise CheckpointError(f"{origin}: no tokenizer.json or tokenizer.model; give --llm or --base")
        for name in names:
            shutil.copyfile(origin / name, folder / name)
        settings = folder / "tokenizer_config.json"
        if settings.exists():
            values = read_json(settings, CheckpointError)
            values.pop("auto_map", None)
            if values.get("tokenizer_class") == "MplugOwlTokenizer":  # LLaMA's, with other defaults
                values["tokenizer_class"] = "LlamaTokenizer"
            write_json(settings, values)

    def _write_visual(self, run: Path, part: str, tensors: dict[str, Tensor]) -> None:
        origin = self.base / part if self.base else None
        if not tensors:
            if origin and origin.is_dir():
                shutil.copytree(origin, run / part)
            return
        if origin and origin.is_dir():
            from safetensors.torch import load_file

            tensors = {**load_file(origin / "model.safetensors"), **tensors}
        dtype = next(iter(tensors.values())).dtype
        wanted = layout.expected_shapes(part, self.configs[part])
        full = {
            name: tensors[name].reshape(shape) if name in tensors else torch.zeros(shape, dtype=dtype)
            for name, shape in wanted.items()
        }
        (run / part).mkdir()
        _save(full, run / part / "model.safetensors")
        write_json(run / part / "config.json", asdict(self.configs[part]))
        pixels = (origin or self.source.folder) / "preprocessor_config.json"
        if part == "encoder" and pixels.exists():
            shutil.copyfile(pixels, run / part / pixels.name)

    def _write_adapter(self, folder: Path, tensors: dict[str, Tensor]) -> None:
        """The configuration is written out rather than left to peft, so that converting does not need it."""
        options = self.source.options
        modules = sorted({name.rsplit(".", 3)[1] for name in tensors})
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": "llm",
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": options.get("llm_alpha", 16),
            "lora_dropout": options.get("lora_dropout", 0.1),
            "target_modules": modules,
            "bias": "none",
            "fan_in_fan_out": False,
        }
        folder.mkdir()
        _save(tensors, folder / "adapter_model.safetensors")
        write_json(folder / "adapter_config.json", config)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    # Tensors of one pickle may share memory, which safetensors refuses: each gets its own.
    own: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.contiguous()
        pointer = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    save_file(own, path, metadata={"format": "pt"})
