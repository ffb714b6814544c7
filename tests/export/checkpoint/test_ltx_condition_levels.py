"""Noise levels and times of latent frames of LTXConditionPipeline against diffusers' own and float64."""

import json

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXConditionPipeline, linear_quadratic_schedule

from g4v._core import testing
from g4v.errors import ArgumentError
from g4v.export.checkpoint.ltx import CONDITION_PIPELINE, PIPELINE
from g4v.export.checkpoint.ltx_sampling import frame_seconds, linear_quadratic_sigmas
from g4v.export.checkpoint.samplers import sensible_samplers
from g4v.export.checkpoint.scheduler import read_scheduler

from ...diffusers_samplers import compare, make
from ...ltx_folder import CONDITION_SCHEDULER

CONFIG = {"_class_name": "FlowMatchEulerDiscreteScheduler", **CONDITION_SCHEDULER}
OURS = {"prediction_type": "flow_prediction", "use_linear_quadratic_sigmas": True}


@pytest.fixture
def t2v(tmp_path):
    for part, values in (
        ("scheduler/scheduler_config.json", CONFIG),
        ("transformer/config.json", {"_class_name": "LTXVideoTransformer3DModel"}),
        ("model_index.json", {"_class_name": CONDITION_PIPELINE}),
    ):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_text(json.dumps(values), "utf-8")
    return tmp_path


def told(scheduler):
    """The scheduler with time steps as the pipeline sets them."""
    given = scheduler.set_timesteps
    scheduler.set_timesteps = lambda steps: given(
        steps, timesteps=(linear_quadratic_schedule(steps) * 1000).tolist()
    )
    return scheduler


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 7, 8, 20, 31, 50, 200])
def test_equals_diffusers(steps, t2v):
    settings = read_scheduler(t2v, steps=steps)
    assert sensible_samplers(settings) == ["flow_match_euler"]
    assert settings.pop("type") == "flow_match_euler"
    reference = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(t2v / "scheduler")
    compare("flow_match_euler", settings, told(make("flow_match_euler", reference.config)), steps)


def test_levels_of_any_number_of_steps():
    """In float64, and in the runtime; diffusers steps by them to the next lower one, so they must descend."""
    for steps in range(1, 1001):
        levels = linear_quadratic_sigmas(steps)
        exact = linear_quadratic_schedule(steps).double().numpy()
        assert levels.shape == exact.shape == (steps,)
        assert np.abs(levels - exact).max() < 1e-7, steps
        made = testing.Scheduler("flow_match_euler", steps, **OURS).timesteps
        assert np.abs(np.array(made) / 1000 - levels).max() < 2e-7, steps
        assert made[0] == 1000 and (np.diff([*made, 0.0]) < -1e-3).all(), steps


def test_the_two_halves():
    """Half of the steps take 0.025 away, evenly; the slope goes on where the parabola begins."""
    levels = linear_quadratic_sigmas(40)
    assert np.allclose(levels[:21], 1 - 0.025 * np.arange(21) / 20, rtol=0, atol=1e-15)
    assert np.allclose(np.diff([*levels[20:], 0.0], 3), 0, atol=1e-12)
    assert np.allclose(np.diff([*levels[20:], 0.0], 2), np.diff(levels[20:23], 2), atol=1e-12)


@pytest.mark.parametrize("frames", [1, 2, 3, 21])
@pytest.mark.parametrize("fps", [1, 8, 23.976, 25, 30])
def test_times_of_frames(frames, fps):
    ids = LTXConditionPipeline._prepare_video_ids(1, frames, 2, 3)
    at = LTXConditionPipeline._scale_video_ids(ids, 32, 8).float()[0, 0] * (1.0 / fps)
    made = frame_seconds(CONDITION_PIPELINE, frames, 8, fps)
    assert made.dtype == np.float32 and np.array_equal(made, at.reshape(frames, 6)[:, 0].numpy())
    exact = np.maximum(8 * np.arange(frames) - 7, 0) / fps
    assert np.abs(made - exact).max() <= 2e-7 * max(exact.max(), 1)
    others = frame_seconds(PIPELINE, frames, 8, fps)
    assert np.allclose(others, 8 * np.arange(frames) / fps, rtol=2e-7)
    assert torch.from_numpy(made).dtype == torch.float32


def test_no_other_sampler():
    with pytest.raises(ArgumentError, match="use_linear_quadratic_sigmas is of flow_match_euler alone"):
        testing.Scheduler("unipc", 4, **OURS)
