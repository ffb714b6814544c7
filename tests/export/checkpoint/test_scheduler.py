"""Every setting of a scheduler_config.json: diffusers' time steps and samples, or a refusal that names it."""

import inspect
import json
import math

import diffusers
import numpy as np
import pytest
import torch

from g4v._core import testing
from g4v.export.checkpoint import scheduler as reader
from g4v.export.checkpoint.scheduler import read_scheduler
from g4v.export.errors import ExportError

DDIM, DPM = "DDIMScheduler", "DPMSolverMultistepScheduler"
TYPES = {DDIM: "ddim", DPM: "dpmsolver++"}
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
    # Keys that only the other class has, as configurations that are derived from one another carry them.
    MULTISTEP | {"clip_sample": True, "clip_sample_range": 0.1, "set_alpha_to_one": False},
    ZEROSCOPE | {"use_karras_sigmas": True, "solver_order": 1, "final_sigmas_type": "sigma_min"},
]
# A value of every key of diffusers' classes that is not supported, and what the message names.
REFUSED = {
    "trained_betas": [0.1, 0.2],
    "thresholding": True,
    "algorithm_type": "sde-dpmsolver++",
    "solver_type": "heun",
    "use_exponential_sigmas": True,
    "use_beta_sigmas": True,
    "use_lu_lambdas": True,
    "use_flow_sigmas": True,
    "use_dynamic_shifting": True,
    "lambda_min_clipped": -5.1,
    "variance_type": "learned",
    "sigma_min": 0.02,
    "sigma_max": 700.0,
}


@pytest.fixture
def write(tmp_path):
    """Writes a scheduler_config.json; returns the text-to-video folder."""

    def write(config):
        folder = tmp_path / "scheduler"
        folder.mkdir(exist_ok=True)
        (folder / "scheduler_config.json").write_text(json.dumps(config), "utf-8")
        return tmp_path

    return write


def compare(ours, theirs, steps):
    """Time steps, and the sample after each step from random predictions."""
    theirs.set_timesteps(steps)
    theirs.set_begin_index(0) if hasattr(theirs, "set_begin_index") else None  # as pipelines do
    assert ours.timesteps == theirs.timesteps.tolist()
    random = np.random.default_rng(steps)
    sample = random.standard_normal(64).astype(np.float32)
    other = torch.from_numpy(sample.copy())
    for index, timestep in enumerate(theirs.timesteps):
        prediction = random.standard_normal(64).astype(np.float32)
        sample = ours.step(index, prediction, sample)
        other = theirs.step(torch.from_numpy(prediction), timestep, other).prev_sample
        scale = max(1.0, float(other.abs().max()))
        assert np.abs(sample - other.numpy()).max() <= 2e-5 * scale, (steps, index)


@pytest.mark.parametrize("config", ACCEPTED, ids=range(len(ACCEPTED)))
def test_equals_diffusers(config, write):
    t2v = write(config)
    made = getattr(diffusers, config["_class_name"]).from_pretrained(t2v / "scheduler")
    for steps in (1, 2, 3, 6, 14, 15, 20, 33):
        settings = read_scheduler(t2v, steps=steps)
        ours = testing.Scheduler(settings.pop("type"), steps, **settings)
        compare(ours, made.from_config(made.config), steps)


@pytest.mark.parametrize("config", ACCEPTED, ids=range(len(ACCEPTED)))
def test_another_sampler_equals_from_config(config, write):
    """`DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)` and the reverse."""
    t2v = write(config)
    name = DPM if config["_class_name"] == DDIM else DDIM
    if name == DDIM and config.get("rescale_betas_zero_snr") and "prediction_type" not in config:
        with pytest.raises(ExportError, match="DDIM cannot sample prediction_type 'epsilon'"):
            read_scheduler(t2v, "ddim")
        return
    given = getattr(diffusers, config["_class_name"]).from_pretrained(t2v / "scheduler")
    for steps in (3, 16):
        settings = read_scheduler(t2v, TYPES[name])
        ours = testing.Scheduler(settings.pop("type"), steps, **settings)
        compare(ours, getattr(diffusers, name).from_config(given.config), steps)


@pytest.mark.parametrize("name", [DDIM, DPM])
def test_every_key_of_the_class_is_known(name):
    keys = set(inspect.signature(getattr(diffusers, name).__init__).parameters) - {"self"}
    lists = [set(reader._OBEYED), set(reader._ACCEPTED), set(reader._NO_EFFECT)]
    assert keys - set.union(*lists) == set()
    assert sum(map(len, lists)) == len(set.union(*lists))
    assert set(reader._ACCEPTED) == set(REFUSED)


@pytest.mark.parametrize("key", REFUSED)
@pytest.mark.parametrize("config", [ZEROSCOPE, MULTISTEP], ids=["ddim", "dpmsolver++"])
def test_what_is_not_supported_is_refused_by_name(key, config, write):
    with pytest.raises(ExportError, match=f"scheduler_config.json: {key} .* is not supported, only "):
        read_scheduler(write(config | {key: REFUSED[key]}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_karas_sigmas": True}, "unknown key 'use_karas_sigmas'"),
        ({"rho": 7.0}, "unknown key 'rho'"),
        ({"solver_order": 3}, "solver_order is 3 but must be an integer from 1 to 2"),
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
        ({"_class_name": "EulerDiscreteScheduler"}, "scheduler 'EulerDiscreteScheduler' is not supported"),
        ({"_class_name": ["DDIMScheduler"]}, "is not supported"),
        ({"rescale_betas_zero_snr": True}, "DDIM cannot sample prediction_type 'epsilon'"),
    ],
    ids=str,
)
def test_refusals(changes, message, write):
    with pytest.raises(ExportError, match=message.replace("(", r"\(")):
        read_scheduler(write(ZEROSCOPE | changes))


@pytest.mark.parametrize("config", [ZEROSCOPE, MULTISTEP], ids=["ddim", "dpmsolver++"])
@pytest.mark.parametrize("spacing", [None, "leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [0, 1, 499, 500, 998, 999, 1000, 1001])
def test_steps_are_refused_as_the_core_refuses_them(config, spacing, steps, write):
    config = config | ({} if spacing is None else {"timestep_spacing": spacing})
    if spacing is None:
        config.pop("timestep_spacing", None)
    t2v, refused = write(config), False
    settings = read_scheduler(t2v)
    try:
        testing.Scheduler(settings.pop("type"), steps, **settings)
    except Exception:
        refused = True
    if refused:
        with pytest.raises(ExportError, match=r"generation.video.steps"):
            read_scheduler(t2v, steps=steps)
    else:
        read_scheduler(t2v, steps=steps)


def test_only_what_differs_from_the_default_is_written(write):
    plain = read_scheduler(
        write(MULTISTEP | {"solver_order": 2, "clip_sample_range": 1, "euler_at_final": False})
    )
    assert set(plain) == {
        "type", "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type",
        "rescale_betas_zero_snr", "timestep_spacing", "steps_offset", "set_alpha_to_one", "clip_sample",
    }  # fmt: skip
    changed = read_scheduler(write(MULTISTEP | {"solver_order": 1, "use_karras_sigmas": True}))
    assert set(changed) - set(plain) == {"solver_order", "use_karras_sigmas"}
