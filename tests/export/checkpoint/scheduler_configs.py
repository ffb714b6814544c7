"""Configurations of diffusers' schedulers that the runtime can sample, in all their settings."""

from __future__ import annotations

import math
from typing import Any

from g4v.export.checkpoint.samplers import sampler_of

DDIM, DPM = "DDIMScheduler", "DPMSolverMultistepScheduler"
ZEROSCOPE = {  # as it is published: keys of old versions, none of timestep_spacing
    "_class_name": DDIM,
    "_diffusers_version": "0.15.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "clip_sample_range": 1.0,
    "dynamic_thresholding_ratio": 0.995,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "thresholding": False,
    "trained_betas": None,
}
MULTISTEP = {
    "_class_name": DPM,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}

SDE = MULTISTEP | {"algorithm_type": "sde-dpmsolver++"}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
EULER = {"_class_name": "EulerDiscreteScheduler", **BETAS, "steps_offset": 1}
ANCESTRAL = EULER | {"_class_name": "EulerAncestralDiscreteScheduler"}
UNIPC = EULER | {"_class_name": "UniPCMultistepScheduler"}
UNIPC_FLOW = {
    "_class_name": "UniPCMultistepScheduler",
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
}
LCM = {"_class_name": "LCMScheduler", **BETAS, "clip_sample": False, "steps_offset": 1}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}

ACCEPTED = [
    ZEROSCOPE,
    {"_class_name": DDIM},
    {"_class_name": DPM},
    ZEROSCOPE | {"clip_sample": True, "clip_sample_range": 0.25},
    ZEROSCOPE | {"clip_sample": True, "clip_sample_range": 3, "prediction_type": "sample"},
    ZEROSCOPE | {"prediction_type": "sample"},
    ZEROSCOPE | {"beta_schedule": "squaredcos_cap_v2"},
    ZEROSCOPE | {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"},
    ZEROSCOPE | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "steps_offset": 0},
    ZEROSCOPE | {"rescale_betas_zero_snr": True, "prediction_type": "sample", "timestep_spacing": "trailing"},
    ZEROSCOPE | {"timestep_spacing": "linspace", "set_alpha_to_one": True, "beta_schedule": "linear"},
    MULTISTEP,
    {key: value for key, value in MULTISTEP.items() if key != "timestep_spacing"},
    MULTISTEP | {"timestep_spacing": "trailing", "prediction_type": "v_prediction"},
    MULTISTEP | {"use_karras_sigmas": True},
    MULTISTEP | {"use_karras_sigmas": True, "beta_schedule": "linear", "prediction_type": "sample"},
    MULTISTEP | {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min"},
    MULTISTEP | {"use_karras_sigmas": True, "solver_order": 1, "num_train_timesteps": 300},
    MULTISTEP | {"use_karras_sigmas": True, "rescale_betas_zero_snr": True},
    MULTISTEP | {"use_karras_sigmas": True, "beta_schedule": "squaredcos_cap_v2"},
    MULTISTEP | {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"},
    MULTISTEP | {"final_sigmas_type": "sigma_min"},
    MULTISTEP | {"final_sigmas_type": "sigma_min", "lower_order_final": False},
    MULTISTEP | {"final_sigmas_type": "sigma_min", "lower_order_final": False, "euler_at_final": True},
    MULTISTEP | {"final_sigmas_type": "sigma_min", "euler_at_final": True, "solver_order": 1},
    MULTISTEP | {"solver_order": 1},
    MULTISTEP | {"lower_order_final": False, "euler_at_final": True},
    MULTISTEP | {"algorithm_type": "dpmsolver++", "solver_type": "logrho", "lambda_min_clipped": -math.inf},
    MULTISTEP | {"solver_order": 3},
    MULTISTEP | {"solver_order": 3, "lower_order_final": False, "prediction_type": "v_prediction"},
    MULTISTEP | {"solver_type": "heun"},
    MULTISTEP | {"use_exponential_sigmas": True},
    # Keys that only the other class has, as configurations that are derived from one another carry them.
    MULTISTEP | {"clip_sample": True, "clip_sample_range": 0.1, "set_alpha_to_one": False},
    ZEROSCOPE | {"use_karras_sigmas": True, "solver_order": 1, "final_sigmas_type": "sigma_min"},
    SDE,
    SDE | {"prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    SDE | {"prediction_type": "sample", "use_karras_sigmas": True},
    SDE | {"solver_order": 1, "timestep_spacing": "linspace"},
    SDE | {"final_sigmas_type": "sigma_min", "lower_order_final": False},
    SDE | {"solver_type": "heun", "euler_at_final": True},
    EULER,
    EULER | {"timestep_spacing": "leading", "prediction_type": "v_prediction"},
    EULER | {"timestep_spacing": "trailing", "prediction_type": "sample"},
    EULER | {"use_karras_sigmas": True},
    EULER | {"use_karras_sigmas": True, "timestep_spacing": "leading", "beta_schedule": "linear"},
    EULER | {"use_exponential_sigmas": True, "final_sigmas_type": "sigma_min"},
    EULER
    | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"},
    EULER | {"beta_schedule": "squaredcos_cap_v2", "interpolation_type": "linear"},
    ANCESTRAL,
    ANCESTRAL | {"timestep_spacing": "leading", "prediction_type": "v_prediction"},
    ANCESTRAL | {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True},
    ANCESTRAL | {"beta_schedule": "linear", "num_train_timesteps": 400},
    UNIPC,
    UNIPC | {"solver_order": 1, "timestep_spacing": "trailing"},
    UNIPC | {"solver_order": 3, "timestep_spacing": "leading"},
    UNIPC | {"solver_order": 3, "prediction_type": "v_prediction", "disable_corrector": [0, 1, 4]},
    UNIPC | {"prediction_type": "sample", "beta_schedule": "squaredcos_cap_v2"},
    UNIPC | {"solver_type": "bh1", "final_sigmas_type": "sigma_min"},
    UNIPC | {"solver_type": "bh1", "final_sigmas_type": "sigma_min", "solver_order": 3},
    UNIPC | {"predict_x0": False, "final_sigmas_type": "sigma_min"},
    UNIPC | {"predict_x0": False, "final_sigmas_type": "sigma_min", "prediction_type": "v_prediction"},
    UNIPC | {"predict_x0": False, "final_sigmas_type": "sigma_min", "prediction_type": "sample"},
    UNIPC | {"final_sigmas_type": "sigma_min", "lower_order_final": False},
    UNIPC | {"use_karras_sigmas": True},
    UNIPC | {"use_exponential_sigmas": True, "final_sigmas_type": "sigma_min"},
    UNIPC_FLOW,
    UNIPC_FLOW | {"flow_shift": 3.0, "solver_order": 3},
    UNIPC_FLOW | {"flow_shift": 5.0, "final_sigmas_type": "sigma_min", "shift_terminal": 0.1},
    LCM,
    LCM | {"prediction_type": "v_prediction", "original_inference_steps": 100, "clip_sample": True},
    LCM | {"prediction_type": "sample", "timestep_scaling": 2.0, "beta_schedule": "linear"},
    {"_class_name": "LCMScheduler"},
    FLOW,
    FLOW | {"shift": 3.0},
    FLOW | {"shift": 0.5, "num_train_timesteps": 500, "use_karras_sigmas": True},
    FLOW | {"shift": 2.0, "shift_terminal": 0.1, "use_exponential_sigmas": True},
    FLOW | {"shift": 3.0, "stochastic_sampling": True},
]


def name(config: dict[str, Any]) -> str:
    """Of a test."""
    kept = {key: value for key, value in config.items() if key not in BETAS and key != "_class_name"}
    return sampler_of(config) + "".join(f", {key} {value}" for key, value in kept.items())[:60]
