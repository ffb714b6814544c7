"""Converts mPLUG-Owl (video) checkpoints and the authors' delta files into a training run.

    RUN/encoder/     the video tower            RUN/llm/      LlamaForCausalLM with its tokenizer
    RUN/abstractor/  the video abstractor       RUN/adapter/  LoRA factors as a PEFT folder
    RUN/conversion.json                         what it was made from

Two passes over the weight files. The first looks at names and shapes, so that a wrong checkpoint is refused
before anything is written; the second writes the language model shard by shard and keeps the encoder and the
abstractor (0.8 GB of 14) until the end. All goes to a temporary folder beside `out`, which is then renamed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from g4v.model.bases import layout
from g4v.model.bases.errors import CheckpointError, one_line
from g4v.model.bases.shards import check_tensors, read_pickle, read_shard
from g4v.model.bases.weight_files import check_weights, find_weight_files, read_json

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_SPARE = 16 << 20  # bytes left for configuration files


class _Source:
    """A checkpoint folder or a delta file: its weight files, its config.json, its options."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise CheckpointError(f"{path}: no such file or directory")
        self.path = path
        self.is_delta = path.is_file()
        self.folder = path.parent if self.is_delta else path
        self.files = [path] if self.is_delta else find_weight_files(path)
        self.options: dict[str, Any] = {}
        beside = self.folder / "config.json"
        self.config = read_json(beside) if beside.exists() or not self.is_delta else {}
        kind = self.config.get("model_type", "mplug-owl")
        if not self.is_delta and kind != "mplug-owl":
            raise CheckpointError(f"{path}: is a {kind!r} checkpoint, only 'mplug-owl' can be converted")

    def read(self, file: Path) -> dict[str, dict[str, Tensor]]:
        """Part -> name there -> tensor."""
        if self.is_delta:
            values = read_pickle(file)
            if not isinstance(values, dict) or "model" not in values:
                raise CheckpointError(f"{file}: is no delta file: 'model' is missing")
            given = values.get("config")
            if isinstance(given, dict):
                self.options = {**given, **getattr(given, "__dict__", {})}
            tensors = check_tensors(file, values["model"])
        else:
            tensors = read_shard(file)
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in layout.PARTS}
        for name, tensor in tensors.items():
            try:
                place = layout.place_tensor(name)
            except CheckpointError as error:
                raise CheckpointError(f"{file}: {error}") from None
            if place and parts[place[0]].setdefault(place[1], tensor) is not tensor:
                raise CheckpointError(f"{file}: tensor {name} is there twice")
        return parts

    def fingerprint(self, *others: Path | None) -> str:
        """Names, sizes and first and last 64 KiB of every file, as a hash."""
        digest = hashlib.sha256()
        extra = [f for other in others if other for f in sorted(other.rglob("*")) if f.is_file()]
        beside = [f for name in ("config.json", *_TOKENIZER_FILES) if (f := self.folder / name).exists()]
        for file in [*self.files, *beside, *extra]:
            size = file.stat().st_size
            digest.update(f"{file.name}\0{size}\0".encode())
            with file.open("rb") as stream:
                digest.update(stream.read(65536))
                stream.seek(max(0, size - 65536))
                digest.update(stream.read(65536))
        return digest.hexdigest()


def convert_checkpoint(
    source: str | Path, out: str | Path, llm: str | Path | None = None, base: str | Path | None = None
) -> Path:
    """Converts `source` (a checkpoint folder or a delta file) into the run `out`; returns its path.

    llm: a LlamaForCausalLM folder of safetensors that becomes the run's, instead of the checkpoint's; for a
    checkpoint without tokenizer files, or a delta. base: a converted run that a delta completes: parts that
    the delta lacks are copied from it. A second call with the same source does nothing. Warns where the
    checkpoint has no temporal weights. CheckpointError: whatever cannot be used; `out` is then as it was.
    """
    try:
        return _convert(Path(source), Path(out), Path(llm) if llm else None, Path(base) if base else None)
    except CheckpointError:
        raise
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{source}: cannot be converted: {one_line(error)}") from None


def _convert(path: Path, out: Path, llm: Path | None, base: Path | None) -> Path:
    source = _Source(path)
    for part, folder in (("--llm", llm), ("--base", base)):
        if folder and not folder.is_dir():
            raise CheckpointError(f"{folder}: {part} must be a directory")
    if base and not source.is_delta:
        raise CheckpointError("--base completes a delta file, and this is a whole checkpoint")
    mark = source.fingerprint(llm, base)
    if (out / "conversion.json").exists():
        if read_json(out / "conversion.json").get("fingerprint") == mark:
            return out
        raise CheckpointError(f"{out}: holds the conversion of something else; choose another folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out}: exists and is not empty; choose another folder")
    plan = _Plan(source, llm, base)
    plan.check_space(out.absolute().parent)
    work = out.with_name(f".{out.name}.converting")
    shutil.rmtree(work, ignore_errors=True)  # of a conversion that was killed
    work.mkdir(parents=True)
    try:
        plan.write(work)
        about = {"source": path.name, "fingerprint": mark, "notes": plan.notes}
        (work / "conversion.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        if out.exists():
            out.rmdir()
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for note in plan.notes:
        warnings.warn(f"{path}: {note}", stacklevel=4)
    return out


class _Plan:
    """What the first pass found, checked against the configuration; then the second pass."""

    def __init__(self, source: _Source, llm: Path | None, base: Path | None) -> None:
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
            values = read_json(outside / "config.json")
            if values.get("model_type") != "llama":
                raise CheckpointError(
                    f"{outside}: is a {values.get('model_type')!r} model, not LlamaForCausalLM"
                )
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
        return read_json(file) if file and file.exists() else None

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
        kept: dict[str, dict[str, Tensor]] = {"encoder": {}, "abstractor": {}, "adapter": {}}
        index: dict[str, str] = {}
        for file in self.source.files:
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
            (folder / "model.safetensors.index.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")
        config = self.configs["llm"]
        config.architectures = ["LlamaForCausalLM"]
        config.save_pretrained(folder)
        origin = outside or self.source.folder
        names = [name for name in _TOKENIZER_FILES if (origin / name).exists()]
        if not {"tokenizer.json", "tokenizer.model"} & set(names):
            raise CheckpointError(f"{origin}: no tokenizer.json or tokenizer.model; give --llm or --base")
        for name in names:
            shutil.copyfile(origin / name, folder / name)
        settings = folder / "tokenizer_config.json"
        if settings.exists():
            values = read_json(settings)
            values.pop("auto_map", None)
            if values.get("tokenizer_class") == "MplugOwlTokenizer":  # LLaMA's, with other defaults
                values["tokenizer_class"] = "LlamaTokenizer"
            settings.write_text(json.dumps(values, indent=2) + "\n", "utf-8")

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
        config = json.dumps(asdict(self.configs[part]), indent=2) + "\n"
        (run / part / "config.json").write_text(config, "utf-8")
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
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


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
