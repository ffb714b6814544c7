"""The noise scheduler of a text-to-video run, as the manifest describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v._files import read_json
from g4v.export.errors import ExportError

_TYPES = {"DDIMScheduler": "ddim", "DPMSolverMultistepScheduler": "dpmsolver++"}
_DEFAULTS = {  # of diffusers
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "timestep_spacing": "leading",
    "steps_offset": 0,
    "set_alpha_to_one": True,
    "clip_sample": True,
}


def read_scheduler(t2v: Path, sampler: str | None = None) -> dict[str, Any]:
    """Reads scheduler_config.json of a diffusers folder and returns the manifest's scheduler object.

    t2v: the text-to-video folder, in which scheduler/ lies.
    sampler: "ddim" or "dpmsolver++", to use another sampler than the file's.

    ExportError: the file is missing or damaged, or names a scheduler or a setting that the runtime lacks.
    """
    path = t2v / "scheduler" / "scheduler_config.json"
    values = read_json(path, ExportError)
    name = values.get("_class_name")
    if sampler is None and name not in _TYPES:
        raise ExportError(f"{path}: scheduler {name!r} is not supported (one of {', '.join(_TYPES)})")
    if values.get("trained_betas") or values.get("thresholding"):
        raise ExportError(f"{path}: trained_betas and thresholding are not supported")
    settings = {key: values.get(key, default) for key, default in _DEFAULTS.items()}
    return {"type": sampler or _TYPES[str(name)], **settings}
