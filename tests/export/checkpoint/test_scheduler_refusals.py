"""What of a scheduler_config.json the runtime cannot sample: each key and value is refused by its name."""

import inspect

import diffusers
import pytest

from g4v._core import testing
from g4v.errors import Error
from g4v.export.checkpoint import scheduler as reader
from g4v.export.checkpoint.samplers import SAMPLERS
from g4v.export.checkpoint.scheduler import read_scheduler
from g4v.export.errors import ExportError

from .scheduler_configs import DPM, EULER, FLOW, LCM, MULTISTEP, UNIPC, UNIPC_FLOW, ZEROSCOPE, name

# A value of every key of diffusers' classes that is not supported, and what the message names.
REFUSED = {
    "trained_betas": [0.1, 0.2],
    "thresholding": True,
    "algorithm_type": "dpmsolver",
    "use_beta_sigmas": True,
    "use_lu_lambdas": True,
    "use_dynamic_shifting": True,
    "lambda_min_clipped": -5.1,
    "variance_type": "learned",
    "interpolation_type": "log_linear",
    "timestep_type": "continuous",
    "solver_p": ["diffusers", "DDIMScheduler"],
    "sigma_min": 0.02,
    "sigma_max": 700.0,
    "shift_terminal": 0.1,
}
REFUSED_OF_FLOW = {
    key: REFUSED[key] for key in ("use_beta_sigmas", "use_dynamic_shifting", "solver_p", "thresholding")
} | {
    "sigma_min": 0.02,
    "sigma_max": 700.0,
    "trained_betas": [0.1],
    "invert_sigmas": True,
    "use_flow_sigmas": False,
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_key_of_the_class_is_known(sampler):
    made = getattr(diffusers, SAMPLERS[sampler].diffusers)
    keys = set(inspect.signature(made.__init__).parameters) - {"self"}
    for known in [reader._FLOW_KEYS] if sampler == "flow_match_euler" else [reader._NOISE_KEYS]:
        lists = list(map(set, known))
        assert keys - set.union(*lists) == {"use_flow_sigmas"} - lists[1]
        assert sum(map(len, lists)) == len(set.union(*lists))
    assert set(reader._ACCEPTED) - {"use_flow_sigmas"} == set(REFUSED)
    assert set(reader._FLOW_ACCEPTED) == set(REFUSED_OF_FLOW)


@pytest.mark.parametrize("key", REFUSED)
@pytest.mark.parametrize("config", [ZEROSCOPE, MULTISTEP, EULER, UNIPC], ids=name)
def test_what_is_not_supported_is_refused_by_name(key, config, write):
    with pytest.raises(ExportError, match=f"scheduler_config.json: {key} .* is not supported, only "):
        read_scheduler(write(config | {key: REFUSED[key]}))


@pytest.mark.parametrize("key", REFUSED_OF_FLOW)
def test_what_is_not_supported_of_flow_matching_is_refused_by_name(key, write):
    with pytest.raises(ExportError, match=f"scheduler_config.json: {key} .* is not supported, only "):
        read_scheduler(write(FLOW | {key: REFUSED_OF_FLOW[key]}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_karas_sigmas": True}, "unknown key 'use_karas_sigmas'"),
        ({"rho": 7.0}, "unknown key 'rho'"),
        ({"solver_order": 4}, "solver_order is 4 but must be an integer from 1 to 3"),
        ({"solver_order": True}, "solver_order is True"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid' but must be one of 'linear', 'scaled_l"),
        ({"prediction_type": "flow_prediction"}, "prediction_type is 'flow_prediction'"),
        ({"timestep_spacing": None}, "timestep_spacing is None"),
        ({"timestep_spacing": "default"}, "timestep_spacing is 'default'"),
        ({"final_sigmas_type": "sigma_max"}, "final_sigmas_type is 'sigma_max'"),
        ({"beta_end": 1.0}, "beta_end is 1.0 but must be a number between 0 and 1"),
        ({"beta_start": "0.1"}, "beta_start is '0.1'"),
        ({"clip_sample_range": 0}, "clip_sample_range is 0 but must be a number above 0"),
        ({"clip_sample": 1}, "clip_sample is 1 but must be true or false"),
        ({"use_karras_sigmas": "yes"}, "use_karras_sigmas is 'yes'"),
        ({"thresholding": 0}, "thresholding 0 is not supported, only False"),
        ({"num_train_timesteps": 0}, "num_train_timesteps is 0"),
        ({"_class_name": "PNDMScheduler"}, "scheduler 'PNDMScheduler' is not supported"),
        (
            {"_class_name": "EulerAncestralDiscreteScheduler", "prediction_type": "sample"},
            "euler_ancestral cannot",
        ),
        ({"use_karras_sigmas": True, "use_exponential_sigmas": True}, "only one of them can be true"),
        (
            {"_class_name": DPM, "algorithm_type": "sde-dpmsolver++", "solver_order": 3},
            "cannot sample solver_or",
        ),
        ({"solver_type": "midpoint2"}, "solver_type is 'midpoint2'"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas is supported of 'UniPCMultistepScheduler' alone"),
        ({"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, "needs prediction_type 'flow"),
        ({"_class_name": "UniPCMultistepScheduler", "solver_type": "bh1"}, "unipc cannot sample solver_type"),
        ({"_class_name": "UniPCMultistepScheduler", "predict_x0": False}, "unipc cannot sample predict_x0"),
        (
            {"_class_name": "UniPCMultistepScheduler", "lower_order_final": False},
            "unipc cannot sample lower_o",
        ),
        ({"_class_name": "UniPCMultistepScheduler", "disable_corrector": [-1]}, r"disable_corrector is [-1]"),
        (
            {"_class_name": "LCMScheduler", "original_inference_steps": 2000},
            "original_inference_steps is 2000",
        ),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "unknown key 'clip_sample'"),
        ({"timestep_scaling": 0}, "timestep_scaling is 0 but must be a number between 0 and 1e6"),
        ({"_class_name": ["DDIMScheduler"]}, "is not supported"),
        ({"rescale_betas_zero_snr": True}, "DDIM cannot sample prediction_type 'epsilon'"),
    ],
    ids=str,
)
def test_refusals(changes, message, write):
    with pytest.raises(ExportError, match=message.replace("(", r"\(").replace("[", r"\[")):
        read_scheduler(write(ZEROSCOPE | changes))


@pytest.mark.parametrize("config", [ZEROSCOPE, MULTISTEP, EULER, UNIPC, LCM], ids=name)
@pytest.mark.parametrize("spacing", [None, "leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [0, 1, 50, 51, 499, 500, 998, 999, 1000, 1001])
def test_steps_are_refused_as_the_core_refuses_them(config, spacing, steps, write):
    config = config | ({} if spacing is None else {"timestep_spacing": spacing})
    if spacing is None:
        config.pop("timestep_spacing", None)
    t2v, refused = write(config), False
    settings = read_scheduler(t2v)
    try:
        testing.Scheduler(settings.pop("type"), steps, **settings)
    except Error:
        refused = True
    if refused:
        with pytest.raises(ExportError, match=r"generation.video.steps"):
            read_scheduler(t2v, steps=steps)
    else:
        read_scheduler(t2v, steps=steps)


def test_steps_of_flow_matching_are_refused_as_the_core_refuses_them(write):
    for config in (FLOW, UNIPC_FLOW | {"flow_shift": 1.0}):
        for terminal in (None, 0.1):
            t2v = write(config | {"shift_terminal": terminal})
            for steps in (0, 1, 2, 1000, 1001):
                settings = read_scheduler(t2v)
                try:
                    testing.Scheduler(settings.pop("type"), steps, **settings)
                except Error:
                    with pytest.raises(ExportError, match=r"generation.video.steps"):
                        read_scheduler(t2v, steps=steps)
                else:
                    read_scheduler(t2v, steps=steps)
