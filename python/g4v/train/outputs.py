"""What a stage leaves in OUT: the trained module, g4v_train.json for the exporter, the report on the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from g4v._files import read_json, write_json
from g4v.model.abstractor import VideoAbstractor
from g4v.train.assembly import Assembly
from g4v.train.bases import find_base_description
from g4v.train.datasets import Rows, find_world
from g4v.train.errors import TrainingError
from g4v.train.settings import Settings
from g4v.train.trainable_modules import save_abstractor, save_adapter


def write_outputs(
    settings: Settings, assembly: Assembly, tensors: Mapping[str, Tensor], rows: Rows, steps: int
) -> None:
    """Writes OUT/abstractor or OUT/adapter, and g4v_train.json.

    tensors: what was trained, by name within the assistant. steps: of the optimiser that were done.
    TrainingError: they cannot be written, or a weight is too large for `settings.result_dtype`.
    """
    out = Path(settings.out)
    model = assembly.model
    trains = assembly.stage == "stage1" or not (out / "abstractor").is_dir()
    if isinstance(model.abstractor, VideoAbstractor) and trains:
        prefix = "abstractor."
        trained = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        whole = {n: trained.get(n, t.detach().cpu()) for n, t in model.abstractor.state_dict().items()}
        if settings.result_dtype == "float16":
            whole = to_half(whole, out / "abstractor")
        save_abstractor(whole, model.abstractor.config, out / "abstractor", assembly.fingerprints)
    if assembly.stage == "stage2":
        adapter = {n.removeprefix("llm."): t for n, t in tensors.items()}
        if settings.result_dtype == "float16":
            adapter = to_half(adapter, out / "adapter")
        save_adapter(adapter, model.llm, out / "adapter", assembly.fingerprints)
    describe(settings, assembly, rows, steps)


def to_half(tensors: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """The tensors, floating ones rounded to float16. TrainingError: one is too large; it names `where`."""
    rounded = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    for name, tensor in rounded.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise TrainingError(f"{where}: {name} is too large for float16")
    return rounded


def describe(settings: Settings, assembly: Assembly, rows: Rows, steps: int) -> None:
    """Writes OUT/g4v_train.json; what an earlier stage wrote about itself stays."""
    path = Path(settings.out) / "g4v_train.json"
    provenance: dict[str, Any] = read_json(path, TrainingError)["provenance"] if path.exists() else {}
    provenance[assembly.stage] = {
        "data": [name if find_world(name) else Path(name).name for name in settings.data],
        "rows": len(rows),
        "steps": steps,
        "learning_rate": settings.learning_rate,
        "seed": settings.seed,
        "bases": assembly.fingerprints,
    }
    base = find_base_description(settings) or {}
    write_json(
        path,
        {
            "name": settings.name,
            "assistant": settings.assistant,
            "description": f"{settings.assistant}, trained with python -m g4v.train.",
            "prompt": assembly.template.to_manifest(),
            "frames": settings.frames,
            "generation": settings.generation or base.get("generation", {"text": {"max_new_tokens": 256}}),
            "licences": list(settings.licences) or base.get("licences", []),
            "provenance": provenance,
        },
        TrainingError,
    )


def write_report(folder: Path, rows: Rows, faults: Sequence[tuple[str, str]]) -> Path:
    """Writes data_report.json into `folder`, work/STAGE of OUT, and returns its path.

    It lists rows of the files that were left out, and those whose clips or lengths made them useless or cut
    them (faults: place, reason), one line each.
    """
    path = folder / "data_report.json"
    write_json(
        path,
        {
            "rows": len(rows),
            "left_out_by_the_readers": rows.left_out,
            "left_out_or_cut_while_training": len(faults),
            "problems": [*rows.problems, *(f"{place}: {reason}" for place, reason in faults)],
        },
        TrainingError,
    )
    return path
