"""The noise scheduler of a text-to-video run, as the manifest describes it.

Every key of scheduler_config.json is obeyed (`_OBEYED`), accepted with the values that have no effect here
(`_ACCEPTED`), known to have none at all (`_NO_EFFECT`), or refused by name. The defaults are those of
diffusers' classes. Keys of the other sampler are read too: the sampler can be changed, in the run and for
a video, and diffusers' `from_config` then hands them over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from g4v._files import read_json
from g4v.export.errors import ExportError

_TYPES = {"DDIMScheduler": "ddim", "DPMSolverMultistepScheduler": "dpmsolver++"}
_LARGEST = 1 << 24  # of the manifest's integers


class _Setting(NamedTuple):
    """A key that the manifest has: its default, what it must be, and whether it is written only where it is
    not the default.
    """

    default: Any
    holds: Callable[[Any], bool]
    wanted: str
    optional: bool = False


def _number(least: float, most: float, wanted: str, default: float, optional: bool = False) -> _Setting:
    def holds(value: Any) -> bool:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and least < value < most

    return _Setting(default, holds, wanted, optional)


def _integer(least: int, most: int, default: int, optional: bool = False) -> _Setting:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return _Setting(default, holds, f"an integer from {least} to {most}", optional)


def _boolean(default: bool, optional: bool = False) -> _Setting:
    return _Setting(default, lambda value: isinstance(value, bool), "true or false", optional)


def _word(default: str, *words: str, optional: bool = False) -> _Setting:
    wanted = "one of " + ", ".join(map(repr, words))
    return _Setting(default, lambda value: isinstance(value, str) and value in words, wanted, optional)


_OBEYED = {
    "num_train_timesteps": _integer(1, _LARGEST, 1000),
    "beta_start": _number(0, 1, "a number between 0 and 1", 0.0001),
    "beta_end": _number(0, 1, "a number between 0 and 1", 0.02),
    "beta_schedule": _word("linear", "linear", "scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": _word("epsilon", "epsilon", "v_prediction", "sample"),
    "rescale_betas_zero_snr": _boolean(False),
    # Each class has its own default, so the manifest says that it is one.
    "timestep_spacing": _word("default", "leading", "trailing", "linspace"),
    "steps_offset": _integer(0, _LARGEST, 0),
    "set_alpha_to_one": _boolean(True),
    "clip_sample": _boolean(True),
    "clip_sample_range": _number(0, 1e30, "a number above 0", 1.0, optional=True),
    "use_karras_sigmas": _boolean(False, optional=True),
    "final_sigmas_type": _word("zero", "zero", "sigma_min", optional=True),
    "solver_order": _integer(1, 2, 2, optional=True),
    "lower_order_final": _boolean(True, optional=True),
    "euler_at_final": _boolean(False, optional=True),
}
_ACCEPTED: dict[str, tuple[Any, ...]] = {
    "trained_betas": (None,),
    "thresholding": (False,),
    "algorithm_type": ("dpmsolver++",),
    "solver_type": ("midpoint", "logrho", "bh1", "bh2"),  # diffusers takes the others for midpoint
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
    "use_lu_lambdas": (False, None),
    "use_flow_sigmas": (False, None),
    "use_dynamic_shifting": (False,),
    "lambda_min_clipped": (-math.inf, None),
    "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
    # Of other samplers; Karras noise levels would begin and end at them.
    "sigma_min": (None,),
    "sigma_max": (None,),
}
_NO_EFFECT = {
    "_class_name": "read apart",
    "_diffusers_version": "says who wrote the file",
    "_name_or_path": "says where the file came from",
    "dynamic_thresholding_ratio": "of thresholding, which is off",
    "sample_max_value": "of thresholding, which is off",
    "flow_shift": "of use_flow_sigmas, which is off",
    "time_shift_type": "of use_dynamic_shifting, which is off",
    "skip_prk_steps": "of PNDM; published files of other samplers keep it",
    "interpolation_type": "of Euler",
    "timestep_type": "of Euler",
    "predict_x0": "of UniPC",
    "solver_p": "of UniPC",
    "disable_corrector": "of UniPC",
}


def read_scheduler(t2v: Path, sampler: str | None = None, steps: int | None = None) -> dict[str, Any]:
    """Reads scheduler_config.json of a diffusers folder and returns the manifest's scheduler object.

    t2v: the text-to-video folder, in which scheduler/ lies.
    sampler: "ddim" or "dpmsolver++", to use another sampler than the file's.
    steps: denoising steps that the sampler must be able to take.

    ExportError: the file is missing or damaged, or names a scheduler or a setting that the runtime lacks.
    """
    path = t2v / "scheduler" / "scheduler_config.json"
    values = read_json(path, ExportError)
    name = values.get("_class_name")
    if sampler is None and (not isinstance(name, str) or name not in _TYPES):
        raise ExportError(f"{path}: scheduler {name!r} is not supported (one of {', '.join(_TYPES)})")
    for key, value in values.items():
        _check(path, key, value)
    settings = {}
    for key, setting in _OBEYED.items():
        value = values.get(key, setting.default)
        if not setting.optional or value != setting.default:
            settings[key] = value
    found = {"type": sampler or _TYPES[str(name)], **settings}
    _check_schedule(path, found, steps)
    return found


def _check(path: Path, key: str, value: Any) -> None:
    if key in _NO_EFFECT:
        return
    if key in _OBEYED:
        if not _OBEYED[key].holds(value):
            raise ExportError(f"{path}: {key} is {value!r} but must be {_OBEYED[key].wanted}")
    elif key not in _ACCEPTED:
        raise ExportError(f"{path}: unknown key {key!r}: its effect on the sampler is not supported")
    elif not any(type(value) is type(one) and value == one for one in _ACCEPTED[key]):
        able = " or ".join("null" if one is None else repr(one) for one in _ACCEPTED[key])
        raise ExportError(f"{path}: {key} {value!r} is not supported, only {able}")


def _check_schedule(path: Path, settings: dict[str, Any], steps: int | None) -> None:
    """Settings that are right alone but cannot be sampled together, as the core refuses them."""
    ddim, train = settings["type"] == "ddim", settings["num_train_timesteps"]
    if ddim and settings["rescale_betas_zero_snr"] and settings["prediction_type"] == "epsilon":
        raise ExportError(
            f"{path}: DDIM cannot sample prediction_type 'epsilon' with rescale_betas_zero_snr: its schedule "
            "ends in nothing but noise"
        )
    if steps is None:
        return
    most = train if ddim else train - 1
    if not 1 <= steps <= most:
        raise ExportError(f"{path}: generation.video.steps is {steps} but must be 1 to {most}")
    spacing = settings["timestep_spacing"]
    if spacing == "leading" or (spacing == "default" and ddim):
        count = steps if ddim else steps + 1
        first = (count - 1) * (train // count) + settings["steps_offset"]
        if first >= train:
            raise ExportError(
                f"{path}: generation.video.steps is {steps}, which leads with steps_offset "
                f"{settings['steps_offset']} to time step {first} of {train}: use fewer steps"
            )
