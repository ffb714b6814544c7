"""The samplers of the runtime: which model each can take, and how many steps.

What a sampler refuses here the core refuses too (csrc/diffusion/samplers), but only for a video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from g4v.export.errors import ExportError

_NOISY = ("epsilon", "v_prediction", "sample")
_FLOW = "flow_prediction"


class Sampler(NamedTuple):
    """A sampler: diffusers' class, the prediction types that it takes, and its time steps: their spacing by
    default ("" where it has one of its own) and whether it counts the clean image as one.
    """

    diffusers: str
    predictions: tuple[str, ...]
    spacing: str
    with_end: bool = False


SAMPLERS = {
    "ddim": Sampler("DDIMScheduler", _NOISY, "leading"),
    "dpmsolver++": Sampler("DPMSolverMultistepScheduler", _NOISY, "linspace", with_end=True),
    "sde-dpmsolver++": Sampler("DPMSolverMultistepScheduler", _NOISY, "linspace", with_end=True),
    "euler": Sampler("EulerDiscreteScheduler", _NOISY, "linspace"),
    "euler_ancestral": Sampler("EulerAncestralDiscreteScheduler", _NOISY[:2], "linspace"),
    "unipc": Sampler("UniPCMultistepScheduler", (*_NOISY, _FLOW), "linspace", with_end=True),
    "lcm": Sampler("LCMScheduler", _NOISY, ""),
    "flow_match_euler": Sampler("FlowMatchEulerDiscreteScheduler", (_FLOW,), ""),
}


def one_of(names: Sequence[str]) -> str:
    """Returns "'a', 'b' or 'c'"."""
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last


def sampler_of(config: Mapping[str, Any]) -> str | None:
    """Returns the sampler that a scheduler_config.json names; None where the runtime has none."""
    name = config.get("_class_name")
    if name == "DPMSolverMultistepScheduler" and config.get("algorithm_type") == "sde-dpmsolver++":
        return "sde-dpmsolver++"
    return next((sampler for sampler, facts in SAMPLERS.items() if facts.diffusers == name), None)


def why_not(sampler: str, settings: Mapping[str, Any]) -> str | None:
    """Says why a sampler cannot take the manifest's scheduler object; None where it can."""
    if settings.get("use_linear_quadratic_sigmas") and sampler != "flow_match_euler":
        return f"{sampler} cannot sample the noise levels of LTXConditionPipeline, only flow_match_euler can"
    prediction = settings["prediction_type"]
    if prediction not in SAMPLERS[sampler].predictions:
        able = one_of(SAMPLERS[sampler].predictions)
        return f"{sampler} cannot sample prediction_type {prediction!r}, only {able}"
    if sampler in ("ddim", "lcm") and prediction == "epsilon" and settings["rescale_betas_zero_snr"]:
        return (
            f"{sampler.upper()} cannot sample prediction_type 'epsilon' with rescale_betas_zero_snr: its "
            "schedule ends in nothing but noise"
        )
    if sampler == "sde-dpmsolver++" and settings.get("solver_order", 2) > 2:
        return "sde-dpmsolver++ cannot sample solver_order 3: diffusers' formula for it diverges"
    if sampler == "lcm":
        original, train = settings.get("original_inference_steps", 50), settings["num_train_timesteps"]
        if original > train:
            return f"original_inference_steps is {original} but must be at most num_train_timesteps, {train}"
    return _why_not_unipc(settings) if sampler == "unipc" else None


def _why_not_unipc(settings: Mapping[str, Any]) -> str | None:
    to_zero = settings.get("final_sigmas_type", "zero") == "zero"
    respaced = settings.get("use_karras_sigmas", False) or settings.get("use_exponential_sigmas", False)
    flow = settings["prediction_type"] == _FLOW
    if to_zero and settings.get("solver_type") == "bh1":
        return "unipc cannot sample solver_type 'bh1' with final_sigmas_type 'zero', only with 'sigma_min'"
    if not settings.get("predict_x0", True) and (to_zero or flow):
        return "unipc cannot sample predict_x0 false with final_sigmas_type 'zero' or flow_prediction"
    lower = settings.get("lower_order_final", True) or settings.get("solver_order", 2) == 1
    if not lower and (to_zero or respaced or flow):
        return (
            "unipc cannot sample lower_order_final false but with final_sigmas_type 'sigma_min' on the "
            "schedule's own noise levels"
        )
    if flow and respaced:
        return "unipc cannot sample use_karras_sigmas or use_exponential_sigmas with flow_prediction"
    return None


def check_steps(place: str, settings: Mapping[str, Any], steps: int) -> None:
    """Checks that the sampler of a scheduler object can take so many steps.

    ExportError: it cannot; `place` begins the message.
    """
    sampler, train = SAMPLERS[settings["type"]], settings["num_train_timesteps"]
    most = train - 1 if sampler.with_end and settings["prediction_type"] != _FLOW else train
    if settings["type"] == "lcm":
        most = settings.get("original_inference_steps", 50)
    if not 1 <= steps <= most:
        raise ExportError(f"{place}: generation.video.steps is {steps} but must be 1 to {most}")
    if steps == 1 and settings.get("shift_terminal"):
        raise ExportError(f"{place}: generation.video.steps is 1, which shift_terminal does not allow")
    spacing = settings.get("timestep_spacing", "")
    if sampler.spacing and spacing == "default":
        spacing = sampler.spacing
    if sampler.spacing and spacing == "leading":
        count = steps + 1 if sampler.with_end else steps
        first = (count - 1) * (train // count) + settings["steps_offset"]
        if first >= train:
            raise ExportError(
                f"{place}: generation.video.steps is {steps}, which leads with steps_offset "
                f"{settings['steps_offset']} to time step {first} of {train}: use fewer steps"
            )


def sensible_samplers(settings: Mapping[str, Any]) -> list[str]:
    """Returns the samplers that a request may choose for a scheduler object, its own first.

    A model that was distilled for LCM is sampled by LCM alone, and no other model is.
    """
    own: str = settings["type"]
    if own == "lcm":
        return [own]
    others = [name for name in SAMPLERS if name not in (own, "lcm") and why_not(name, settings) is None]
    return [own, *others]


def check_samplers(place: str, given: Any, settings: Mapping[str, Any]) -> list[str]:
    """Returns a run's own list of samplers, the default one first.

    ExportError: it is no list of samplers, or one of them cannot take the model.
    """
    known = isinstance(given, list) and all(isinstance(name, str) and name in SAMPLERS for name in given)
    if not known or len(set(given)) != len(given) or settings["type"] not in given:
        raise ExportError(
            f"{place}: generation.video.schedulers is {given!r} but must be a list of "
            f"{one_of(list(SAMPLERS))}, each once, with {settings['type']!r}"
        )
    for name in given:
        if reason := why_not(name, settings):
            raise ExportError(f"{place}: generation.video.schedulers: {reason}")
    return [settings["type"], *(name for name in given if name != settings["type"])]
