"""Noise levels that LTXPipeline gives to its scheduler: diffusers' time steps and samples."""

import json

import diffusers
import numpy as np
import pytest
from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift

from g4v._core import testing
from g4v.errors import ArgumentError
from g4v.export.checkpoint.ltx_sampling import time_shift
from g4v.export.checkpoint.samplers import sampler_of, sensible_samplers
from g4v.export.checkpoint.scheduler import read_scheduler
from g4v.export.errors import ExportError

from ...diffusers_samplers import compare, make
from ...ltx_folder import SCHEDULER

FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
UNIPC = {
    "_class_name": "UniPCMultistepScheduler",
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
}
CONFIGS = [
    FLOW | SCHEDULER,
    FLOW | {"use_dynamic_shifting": True},
    FLOW | SCHEDULER | {"time_shift_type": "linear", "shift_terminal": None},
    FLOW | SCHEDULER | {"use_karras_sigmas": True, "stochastic_sampling": True},
    FLOW | SCHEDULER | {"use_dynamic_shifting": False, "shift": 2.5},
    FLOW,
    UNIPC | {"use_dynamic_shifting": True, "shift_terminal": 0.1},
    UNIPC | {"flow_shift": 3.0},
]
KEYS = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")


@pytest.fixture
def write(tmp_path):
    """Writes the scheduler of an LTX-Video folder."""

    def written(config):
        for part, values in (
            ("scheduler/scheduler_config.json", config),
            ("transformer/config.json", {"_class_name": "LTXVideoTransformer3DModel"}),
        ):
            (tmp_path / part).parent.mkdir(exist_ok=True)
            (tmp_path / part).write_text(json.dumps(values), "utf-8")
        return tmp_path

    return written


def told(scheduler, tokens):
    """The scheduler with time steps as the pipeline sets them, for a video of so many latents."""
    given, config = scheduler.set_timesteps, scheduler.config
    mu = calculate_shift(tokens, *(config.get(key, default) for key, default in zip(
        KEYS, (256, 4096, 0.5, 1.15), strict=True)))  # fmt: skip
    scheduler.set_timesteps = lambda steps: given(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    return scheduler


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("tokens", [6, 1024, 7392])
def test_equals_diffusers(config, tokens, write):
    t2v, sampler = write(config), sampler_of(config)
    given = getattr(diffusers, config["_class_name"]).from_pretrained(t2v / "scheduler")
    for steps in (1, 2, 4, 8, 30, 50):
        if steps == 1 and config.get("shift_terminal"):
            continue
        settings = read_scheduler(t2v, steps=steps)
        assert settings.pop("type") == sampler
        compare(sampler, {**settings, "tokens": tokens}, told(make(sampler, given.config), tokens), steps)


def test_another_sampler_of_the_bundle(write):
    t2v = write(FLOW | SCHEDULER)
    given = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(t2v / "scheduler")
    settings = read_scheduler(t2v)
    assert sensible_samplers(settings) == ["flow_match_euler", "unipc"]
    del settings["type"]
    for steps in (3, 16):
        reference = told(make("unipc", given.config), 640)
        compare("unipc", {**settings, "tokens": 640}, reference, steps)


def test_the_shift_of_a_video(write):
    settings = read_scheduler(write(FLOW | SCHEDULER))
    for tokens in (1, 1024, 9000):
        wanted = calculate_shift(tokens, *(SCHEDULER[key] for key in KEYS))
        assert time_shift(settings, tokens) == pytest.approx(wanted, rel=1e-12)


def test_what_has_no_effect_is_not_written(write):
    settings = read_scheduler(write(FLOW | SCHEDULER | {"use_dynamic_shifting": False}))
    assert not set(settings) & {"use_dynamic_shifting", *KEYS}
    settings = read_scheduler(write(FLOW | SCHEDULER))
    assert settings["use_dynamic_shifting"] is True and settings["max_shift"] == 2.05


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dynamic_shifting": 1}, "use_dynamic_shifting is 1 but must be true or false"),
        ({"base_shift": None}, "base_shift is None but must be a number"),
        ({"max_shift": 1e9}, "max_shift is 1000000000.0 but must be"),
        ({"max_image_seq_len": 1024}, "max_image_seq_len is 1024 but must be above base_image_seq_len, 1024"),
        ({"base_image_seq_len": 0}, "base_image_seq_len is 0 but must be an integer from 1"),
        ({"time_shift_type": "cubic"}, "time_shift_type is 'cubic' but must be one of"),
        ({"invert_sigmas": True}, "invert_sigmas True is not supported"),
        ({"invented": 1}, "unknown key 'invented'"),
    ],
)
def test_refused_by_name(changes, message, write):
    with pytest.raises(ExportError, match=message):
        read_scheduler(write(FLOW | SCHEDULER | changes))


def test_other_pipelines_have_no_dynamic_shifting(write):
    t2v = write(FLOW | SCHEDULER)
    (t2v / "transformer" / "config.json").write_text('{"_class_name": "WanTransformer3DModel"}', "utf-8")
    with pytest.raises(ExportError, match="use_dynamic_shifting True is not supported, only False"):
        read_scheduler(t2v)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "a video of 0 tokens has no noise schedule"),
        ({"tokens": 1, "time_shift_type": "linear", "base_shift": -5.0}, "by the scheduler's linear"),
        ({"tokens": 10**9}, "no noise schedule by the scheduler's exponential"),
    ],
)  # fmt: skip
def test_a_shift_out_of_range(settings, message):
    given = {"prediction_type": "flow_prediction", "use_dynamic_shifting": True, **settings}
    for sampler in ("flow_match_euler", "unipc"):
        with pytest.raises(ArgumentError, match=message):
            testing.Scheduler(sampler, 4, **given)
