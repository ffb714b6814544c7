"""The noise scheduler of a text-to-video run, as the manifest describes it.

Every key of scheduler_config.json is obeyed (`_OBEYED`, `_FLOW_OBEYED`, `_DYNAMIC`), accepted with the values
that have no effect here (`_ACCEPTED`), known to have none at all (`_NO_EFFECT`), or refused by name. The
defaults are those of diffusers' classes. Keys of other samplers are read too: the sampler can be changed, in
the run and for a video, and diffusers' `from_config` then hands them over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from g4v._files import read_json
from g4v.export.checkpoint import ltx
from g4v.export.checkpoint.pipelines import pipeline_of
from g4v.export.checkpoint.samplers import SAMPLERS, check_steps, one_of, sampler_of, why_not
from g4v.export.errors import ExportError

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


def _steps_are(value: Any) -> bool:
    return isinstance(value, list) and all(type(step) is int and 0 <= step <= _LARGEST for step in value)


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
    "use_exponential_sigmas": _boolean(False, optional=True),
    "final_sigmas_type": _word("zero", "zero", "sigma_min", optional=True),
    "solver_order": _integer(1, 3, 2, optional=True),
    "solver_type": _word("default", "midpoint", "heun", "logrho", "bh1", "bh2", optional=True),
    "lower_order_final": _boolean(True, optional=True),
    "euler_at_final": _boolean(False, optional=True),
    "predict_x0": _boolean(True, optional=True),
    "disable_corrector": _Setting([], _steps_are, "a list of steps, from 0", optional=True),
    "original_inference_steps": _integer(1, _LARGEST, 50, optional=True),
    "timestep_scaling": _number(0, 1e6, "a number between 0 and 1e6", 10.0, optional=True),
}
# Where LCMScheduler's defaults are others.
_LCM_DEFAULTS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
}
_ACCEPTED: dict[str, tuple[Any, ...]] = {
    "trained_betas": (None,),
    "thresholding": (False,),
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"),
    "use_beta_sigmas": (False, None),
    "use_lu_lambdas": (False, None),
    "use_dynamic_shifting": (False,),
    "lambda_min_clipped": (-math.inf, None),
    "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
    "interpolation_type": ("linear",),
    "timestep_type": ("discrete",),
    "solver_p": (None,),
    # Karras and exponential noise levels would begin and end at them.
    "sigma_min": (None,),
    "sigma_max": (None,),
    # Of flow matching, which `_read_flow` reads.
    "use_flow_sigmas": (False, None),
    "shift_terminal": (None,),
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
}

# Models that predict the flow have no betas: FlowMatchEulerDiscreteScheduler, and UniPCMultistepScheduler
# with use_flow_sigmas, whose flow_shift is the other's shift.
_FLOW_OBEYED = {
    "num_train_timesteps": _OBEYED["num_train_timesteps"],
    "prediction_type": _word("flow_prediction", "flow_prediction"),
    "shift": _number(0.01, 100, "a number between 0.01 and 100", 1.0, optional=True),
    "shift_terminal": _Setting(
        None,
        lambda value: value is None or (type(value) in (int, float) and 0 <= value < 1),
        "null or a number from 0 to below 1",
        optional=True,
    ),
    "stochastic_sampling": _boolean(False, optional=True),
    **{
        key: _OBEYED[key]
        for key in ("use_karras_sigmas", "use_exponential_sigmas", "final_sigmas_type", "solver_order",
                    "solver_type", "lower_order_final", "predict_x0", "disable_corrector")
    },
}  # fmt: skip
_FLOW_ACCEPTED = {
    **{
        key: _ACCEPTED[key] for key in ("use_beta_sigmas", "use_dynamic_shifting", "solver_p", "thresholding")
    },
    **{key: _ACCEPTED[key] for key in ("sigma_min", "sigma_max", "trained_betas")},
    "invert_sigmas": (False,),
    "use_flow_sigmas": (True,),
}
_FLOW_NO_EFFECT = {
    **{key: why for key, why in _NO_EFFECT.items() if key.startswith("_") or "threshold" in why},
    "base_shift": "of use_dynamic_shifting, which is off",
    "max_shift": "of use_dynamic_shifting, which is off",
    "base_image_seq_len": "of use_dynamic_shifting, which is off",
    "max_image_seq_len": "of use_dynamic_shifting, which is off",
    "time_shift_type": "of use_dynamic_shifting, which is off",
    "beta_start": "of models that predict no flow",
    "beta_end": "of models that predict no flow",
    "beta_schedule": "of models that predict no flow",
    "rescale_betas_zero_snr": "of models that predict no flow",
    "timestep_spacing": "of models that predict no flow",
    "steps_offset": "of models that predict no flow",
}


# Of LTXPipeline alone, which tells the scheduler how large the video is.
_DYNAMIC = {
    "use_dynamic_shifting": _boolean(False, optional=True),
    "base_shift": _number(-100, 100, "a number between -100 and 100", 0.5, optional=True),
    "max_shift": _number(-100, 100, "a number between -100 and 100", 1.15, optional=True),
    "base_image_seq_len": _integer(1, _LARGEST, 256, optional=True),
    "max_image_seq_len": _integer(1, _LARGEST, 4096, optional=True),
    "time_shift_type": _word("exponential", "exponential", "linear", optional=True),
}


class _Keys(NamedTuple):
    """why: what the message says of a value that is not among the accepted ones."""

    obeyed: Mapping[str, _Setting]
    accepted: Mapping[str, tuple[Any, ...]]
    no_effect: Mapping[str, str]
    why: str = ""


_NOISE_KEYS = _Keys(_OBEYED, _ACCEPTED, _NO_EFFECT)
_FLOW_KEYS = _Keys(_FLOW_OBEYED, _FLOW_ACCEPTED, _FLOW_NO_EFFECT)
_LTX_KEYS = _Keys(
    {**_FLOW_OBEYED, **_DYNAMIC},
    {key: values for key, values in _FLOW_ACCEPTED.items() if key not in _DYNAMIC},
    {key: why for key, why in _FLOW_NO_EFFECT.items() if key not in _DYNAMIC},
)
# LTXConditionPipeline gives time steps to the scheduler, which the transformer reads as they are: what would
# change the noise levels alone would make the two differ.
_CONDITION_ACCEPTED: dict[str, tuple[Any, ...]] = {
    "shift": (1.0, 1),
    "shift_terminal": (None, 0, 0.0),
    "use_dynamic_shifting": (False,),
    "use_karras_sigmas": (False, None),
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
    "invert_sigmas": (False,),
    # The pipeline hands the flow over with the other sign, which this step does not expect.
    "stochastic_sampling": (False,),
}
_CONDITION_OBEYED = {
    "num_train_timesteps": _Setting(1000, lambda value: type(value) is int and value == 1000, "1000"),
    "prediction_type": _FLOW_OBEYED["prediction_type"],
}
_CONDITION_KEYS = _Keys(
    _CONDITION_OBEYED,
    _CONDITION_ACCEPTED,
    {
        key: why
        for key, why in (
            *(
                (key, "of UniPC, which the pipeline does not take")
                for key in (*_FLOW_OBEYED, *_FLOW_ACCEPTED)
            ),
            *_FLOW_NO_EFFECT.items(),
        )
        if key not in (*_CONDITION_OBEYED, *_CONDITION_ACCEPTED)
    },
    f": {ltx.CONDITION_PIPELINE} gives the noise levels itself",
)


def read_scheduler(t2v: Path, sampler: str | None = None, steps: int | None = None) -> dict[str, Any]:
    """Reads scheduler_config.json of a diffusers folder and returns the manifest's scheduler object.

    t2v: the text-to-video folder, in which scheduler/ lies.
    sampler: one of `SAMPLERS`, to use another than the file's.
    steps: denoising steps that the sampler must be able to take.

    ExportError: the file is missing or damaged, or names a scheduler or a setting that the runtime lacks, or
    the sampler cannot take the model.
    """
    path = t2v / "scheduler" / "scheduler_config.json"
    values = read_json(path, ExportError)
    own = sampler_of(values)
    kind = sampler or own
    is_condition = _is_ltx(t2v) and pipeline_of(t2v) == ltx.CONDITION_PIPELINE
    if is_condition and own != "flow_match_euler":
        raise ExportError(
            f"{path}: scheduler {values.get('_class_name')!r:.80} is not supported of "
            f"{ltx.CONDITION_PIPELINE}, only {SAMPLERS['flow_match_euler'].diffusers}: no other takes its "
            "noise levels"
        )
    if kind is None:
        known = ", ".join(dict.fromkeys(facts.diffusers for facts in SAMPLERS.values()))
        raise ExportError(
            f"{path}: scheduler {values.get('_class_name')!r} is not supported (one of {known})"
        )
    keys = _NOISE_KEYS
    if own == "flow_match_euler" or values.get("use_flow_sigmas") is True:
        keys = _LTX_KEYS if _is_ltx(t2v) else _FLOW_KEYS
        if is_condition:
            keys = _CONDITION_KEYS
        values = _flow_values(path, values, own)
    for key, value in values.items():
        _check(path, key, value, keys)
    found: dict[str, Any] = {"type": kind}
    for key, setting in keys.obeyed.items():
        value = values.get(key, setting.default)
        if kind == "lcm":
            value = values.get(key, _LCM_DEFAULTS.get(key, setting.default))
        if key == "solver_type" and value not in ("heun", "bh1"):
            continue  # the classes take the other words, and each other's, for their default
        if not setting.optional or value != setting.default:
            found[key] = value
    if is_condition:
        found["use_linear_quadratic_sigmas"] = True
    if keys is _LTX_KEYS:
        _check_dynamic(path, values, found)
    if found.get("use_karras_sigmas") and found.get("use_exponential_sigmas"):
        raise ExportError(
            f"{path}: use_karras_sigmas and use_exponential_sigmas: only one of them can be true"
        )
    if reason := why_not(kind, found):
        raise ExportError(f"{path}: {reason}")
    if steps is not None:
        check_steps(str(path), found, steps)
    return found


def _is_ltx(t2v: Path) -> bool:
    config = t2v / "transformer" / "config.json"
    return config.is_file() and ltx.is_ltx(read_json(config, ExportError))


def _check_dynamic(path: Path, values: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Takes out of `found` what has no effect without use_dynamic_shifting."""
    if not found.get("use_dynamic_shifting"):
        for key in _DYNAMIC:
            found.pop(key, None)
        return
    base, most = (
        values.get(key, _DYNAMIC[key].default) for key in ("base_image_seq_len", "max_image_seq_len")
    )
    if most <= base:
        raise ExportError(f"{path}: max_image_seq_len is {most} but must be above base_image_seq_len, {base}")


def _flow_values(path: Path, values: Mapping[str, Any], own: str | None) -> dict[str, Any]:
    """The keys of a model that predicts the flow, under the names of FlowMatchEulerDiscreteScheduler."""
    if own not in ("flow_match_euler", "unipc"):
        raise ExportError(
            f"{path}: use_flow_sigmas is supported of {one_of(['UniPCMultistepScheduler'])} alone"
        )
    renamed = dict(values)
    if own == "unipc":
        if values.get("prediction_type") != "flow_prediction":
            raise ExportError(f"{path}: use_flow_sigmas needs prediction_type 'flow_prediction'")
        renamed["shift"] = renamed.pop("flow_shift", 1.0)
    return renamed


def _check(path: Path, key: str, value: Any, keys: _Keys) -> None:
    if key in keys.no_effect:
        return
    if key in keys.obeyed:
        if not keys.obeyed[key].holds(value):
            raise ExportError(f"{path}: {key} is {value!r} but must be {keys.obeyed[key].wanted}")
    elif key not in keys.accepted:
        raise ExportError(f"{path}: unknown key {key!r}: its effect on the sampler is not supported")
    elif not any(type(value) is type(one) and value == one for one in keys.accepted[key]):
        values = dict.fromkeys(keys.accepted[key])  # 1 and 1.0 are one
        able = " or ".join("null" if one is None else repr(one) for one in values)
        raise ExportError(f"{path}: {key} {value!r} is not supported, only {able}{keys.why}")
