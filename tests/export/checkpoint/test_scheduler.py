"""Every setting of a scheduler_config.json: diffusers' time steps and samples."""

import diffusers
import pytest

from g4v.export.checkpoint.samplers import check_samplers, sampler_of, sensible_samplers
from g4v.export.checkpoint.scheduler import read_scheduler
from g4v.export.errors import ExportError

from ...diffusers_samplers import compare, make
from .scheduler_configs import ACCEPTED, DDIM, DPM, EULER, FLOW, LCM, MULTISTEP, UNIPC_FLOW, ZEROSCOPE, name

STEPS = (1, 2, 3, 5, 8, 14, 15, 20, 33, 50)


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
def test_a_later_start_from_an_image_equals_diffusers(config, write):
    """As `strength` of image-to-image pipelines: noise is added to an image, and the first steps left out."""
    t2v, sampler = write(config), sampler_of(config)
    given = getattr(diffusers, config["_class_name"]).from_pretrained(t2v / "scheduler")
    for steps, begin in ((4, 3), (14, 6), (20, 1), (20, 0)):
        settings = read_scheduler(t2v, steps=steps)
        assert settings.pop("type") == sampler
        compare(sampler, settings, make(sampler, given.config), steps, begin=begin)


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
