"""Every setting of a scheduler_config.json: diffusers' time steps and samples, or a refusal that names it."""

import inspect
import json
import math

import diffusers
import pytest

from g4v._core import testing
from g4v.export.checkpoint import scheduler as reader
from g4v.export.checkpoint.samplers import SAMPLERS, check_samplers, sampler_of, sensible_samplers
from g4v.export.checkpoint.scheduler import read_scheduler
from g4v.export.errors import ExportError

from ...diffusers_samplers import compare, make

DDIM, DPM = "DDIMScheduler", "DPMSolverMultistepScheduler"
STEPS = (1, 2, 3, 5, 8, 14, 15, 20, 33, 50)
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


@pytest.fixture
def write(tmp_path):
    """Writes a scheduler_config.json; returns the text-to-video folder."""

    def write(config):
        folder = tmp_path / "scheduler"
        folder.mkdir(exist_ok=True)
        (folder / "scheduler_config.json").write_text(json.dumps(config), "utf-8")
        return tmp_path

    return write


def name(config):
    kept = {key: value for key, value in config.items() if key not in BETAS and key != "_class_name"}
    return sampler_of(config) + "".join(f", {key} {value}" for key, value in kept.items())[:60]


@pytest.mark.parametrize("config", ACCEPTED, ids=name)
def test_equals_diffusers(config, write):
    t2v, sampler = write(config), sampler_of(config)
    given = getattr(diffusers, config["_class_name"]).from_pretrained(t2v / "scheduler")
    for steps in STEPS:
        if sampler in ("flow_match_euler", "unipc") and steps == 1 and config.get("shift_terminal"):
            continue
        settings = read_scheduler(t2v, steps=steps)
        assert settings.pop("type") == sampler
        compare(sampler, settings, make(sampler, given.config), steps)


@pytest.mark.parametrize("config", ACCEPTED, ids=name)
def test_another_sampler_of_the_bundle_equals_from_config(config, write):
    """As a request names it: `EulerDiscreteScheduler.from_config(pipe.scheduler.config)`, and all others."""
    t2v = write(config)
    given = getattr(diffusers, config["_class_name"]).from_pretrained(t2v / "scheduler")
    settings = read_scheduler(t2v)
    own, *others = sensible_samplers(settings)
    assert own == settings.pop("type") == sampler_of(config)
    for sampler in others:
        for steps in (3, 16):
            compare(sampler, settings, make(sampler, given.config), steps)


@pytest.mark.parametrize("config", [c for c in ACCEPTED if c["_class_name"] in (DDIM, DPM)], ids=name)
def test_the_run_may_choose_another_sampler(config, write):
    t2v, own = write(config), sampler_of(config)
    given = getattr(diffusers, config["_class_name"]).from_pretrained(t2v / "scheduler")
    for sampler in ("ddim", "lcm"):
        if own == sampler:
            continue
        if config.get("rescale_betas_zero_snr") and "prediction_type" not in config:
            with pytest.raises(
                ExportError, match=f"{sampler.upper()} cannot sample prediction_type 'epsilon'"
            ):
                read_scheduler(t2v, sampler)
            continue
        settings = read_scheduler(t2v, sampler)
        compare(settings.pop("type"), settings, make(sampler, given.config), 16)


def test_which_samplers_are_sensible(write):
    def of(config):
        return sensible_samplers(read_scheduler(write(config)))

    noisy = ["dpmsolver++", "sde-dpmsolver++", "euler", "euler_ancestral", "unipc"]
    assert of(ZEROSCOPE) == ["ddim", *noisy]
    assert of(EULER)[0] == "euler" and sorted(of(EULER)) == sorted(["ddim", *noisy])
    assert "euler_ancestral" not in of(ZEROSCOPE | {"prediction_type": "sample"})
    assert "ddim" not in of(EULER | {"rescale_betas_zero_snr": True})
    assert "unipc" not in of(MULTISTEP | {"lower_order_final": False})
    assert of(LCM) == ["lcm"]
    assert of(FLOW) == ["flow_match_euler", "unipc"]
    assert of(UNIPC_FLOW) == ["unipc", "flow_match_euler"]
    assert of(FLOW | {"use_karras_sigmas": True}) == ["flow_match_euler"]


def test_a_run_may_list_its_samplers(write):
    settings = read_scheduler(write(ZEROSCOPE))
    assert check_samplers("run", ["lcm", "ddim"], settings) == ["ddim", "lcm"]
    for given in ([], ["euler"], ["ddim", "ddim"], "ddim", ["ddim", "pndm"], ["ddim", 1]):
        with pytest.raises(
            ExportError, match=r"generation.video.schedulers is .* but must be a list of 'ddim', "
        ):
            check_samplers("run", given, settings)
    with pytest.raises(
        ExportError, match="schedulers: flow_match_euler cannot sample prediction_type 'epsilon'"
    ):
        check_samplers("run", ["ddim", "flow_match_euler"], settings)


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
    except Exception:
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
                except Exception:
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
