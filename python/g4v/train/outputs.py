"""What a stage leaves in OUT: the trained part, g4v_train.json for the exporter, the report on the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from g4v.train.assembly import Stage
from g4v.train.bases import find_base_description
from g4v.train.datasets import Rows
from g4v.train.files import read_json, write_json
from g4v.train.settings import Settings
from g4v.train.trainable_modules import save_abstractor, save_adapter


def write_results(
    settings: Settings, stage: Stage, tensors: Mapping[str, Tensor], rows: Rows, steps: int
) -> None:
    """tensors: what was trained, by name within the assistant."""
    out = Path(settings.out)
    model = stage.model
    if stage.name == "stage1" or not (out / "abstractor").is_dir():
        if model.abstractor is not None:
            trained = {n.removeprefix("abstractor."): t for n, t in tensors.items() if n.startswith("abstr")}
            whole = {n: trained.get(n, t.detach().cpu()) for n, t in model.abstractor.state_dict().items()}
            save_abstractor(whole, model.abstractor.config, out / "abstractor", stage.marks)
    if stage.name == "stage2":
        adapter = {n.removeprefix("llm."): t for n, t in tensors.items()}
        save_adapter(adapter, model.llm, out / "adapter", stage.marks)
    describe(settings, stage, rows, steps)


def describe(settings: Settings, stage: Stage, rows: Rows, steps: int) -> None:
    """Writes g4v_train.json; what an earlier stage wrote about itself stays."""
    path = Path(settings.out) / "g4v_train.json"
    provenance: dict[str, Any] = read_json(path)["provenance"] if path.exists() else {}
    provenance[stage.name] = {
        "data": [name if name.startswith("shapes:") else Path(name).name for name in settings.data],
        "rows": len(rows),
        "steps": steps,
        "learning_rate": settings.learning_rate,
        "seed": settings.seed,
        "bases": stage.marks,
    }
    base = find_base_description(settings) or {}
    write_json(
        path,
        {
            "name": settings.name,
            "assistant": settings.assistant,
            "description": f"{settings.assistant}, trained with python -m g4v.train.",
            "prompt": stage.template.to_manifest(),
            "frames": settings.frames,
            "generation": settings.generation or base.get("generation", {"text": {"max_new_tokens": 256}}),
            "licences": list(settings.licences) or base.get("licences", []),
            "provenance": provenance,
        },
    )


def write_report(folder: Path, rows: Rows, faults: Sequence[tuple[str, str]]) -> Path:
    """work/STAGE/data_report.json in OUT: rows of the files that were left out, and those whose clips or
    lengths made them useless (in part), one line each.
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
    )
    return path
