"""Bundles of a folder of LTXConditionPipeline: the frames of diffusers without a condition; refusals."""

import itertools
import json
import shutil
from unittest import mock

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.ltx import pipeline_ltx_condition

import g4v
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError

from ..ltx_folder import VAE_0_9_1, VAE_0_9_5, write_ltx
from ..wan_folder import change_json

PIPELINE = "LTXConditionPipeline"
CAPTION, NEGATIVE = "a red circle moving left, two blue squares 東京", "blurred"
# Of more tokens than the 128 that LTXPipeline reads, and of less than 256.
LONG = " ".join([CAPTION] * 8)
SMALL = {"frames": 9, "video_size": (64, 96)}
SEED, LAST = 7, (1 << 64) - 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ltx(tmp_path_factory.mktemp("ltx") / "t2v", VAE_0_9_5, pipeline=PIPELINE)


@pytest.fixture(scope="module")
def bundle(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("ltx") / "bundle"
    export_bundle(None, out, overrides=Overrides(t2v=str(folder), **SMALL))
    return out


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "t2v")


def stream(number, shape):
    """What the runtime draws of the seed for a VAE's decoder."""
    return torch.from_numpy(g4v._core.testing.noise(SEED, int(np.prod(shape)), number).reshape(tuple(shape)))


@torch.no_grad()
def theirs(folder, caption, latents, options, decode):
    """uint8 [F, H, W, 3] of diffusers' pipeline. It draws its first latents whatever it is given, so they and
    the noises of the VAE stand in for PyTorch's.
    """
    pipeline = diffusers.LTXConditionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    drawn = iter([torch.from_numpy(latents)[None].clone(), None])
    numbers = itertools.count()

    def first_latents(shape, **_):
        given = next(drawn)
        return stream(LAST - 1, shape) if given is None else given

    with (
        mock.patch.object(pipeline_ltx_condition, "randn_tensor", first_latents),
        mock.patch.object(torch, "randn", lambda shape, **_: stream(LAST - 2 - next(numbers), shape)),
    ):
        made = pipeline(
            prompt=caption, negative_prompt=NEGATIVE, height=options["height"], width=options["width"],
            num_frames=options["frames"], frame_rate=options["fps"], num_inference_steps=options["steps"],
            guidance_scale=options["guidance_scale"], output_type="np", **decode,
        ).frames[0]  # fmt: skip
    return np.round(np.asarray(made) * 255).astype(np.uint8)


def difference(folder, bundle, caption, frames, size, steps, guidance_scale, fps, decode=None):
    """Largest difference of two videos from the same latents, of 255."""
    width, height = size
    shape = (8, (frames - 1) // 8 + 1, height // 32, width // 32)
    latents = np.random.default_rng().standard_normal(shape).astype(np.float32)
    options = {
        "frames": frames, "width": width, "height": height, "steps": steps,
        "guidance_scale": guidance_scale, "fps": fps,
    }  # fmt: skip
    wanted = theirs(folder, caption, latents, options, decode or {})
    assistant = g4v.load(bundle, device="cpu", threads=1)
    made = assistant.generate(caption, negative_prompt=NEGATIVE, latents=latents, seed=SEED, **options).frames
    assert made.shape == wanted.shape == (frames, height, width, 3) and wanted.std() > 5
    return int(np.abs(made.astype(int) - wanted.astype(int)).max())


@pytest.mark.parametrize(
    ("frames", "size", "steps", "guidance_scale", "fps"),
    [
        (17, (96, 64), 5, 3.0, 25),
        (9, (64, 96), 20, 3.0, 24),
        (25, (64, 64), 50, 4.5, 30),
        (1, (64, 64), 3, 3.0, 25),
        (17, (64, 64), 1, 1.0, 8),  # distilled models: few steps, no guidance
        (9, (32, 128), 2, 1.0, 25),
        (9, (64, 64), 7, 1.0, 25),
    ],
)
def test_frames_are_those_of_diffusers(frames, size, steps, guidance_scale, fps, folder, bundle):
    assert difference(folder, bundle, CAPTION, frames, size, steps, guidance_scale, fps) <= 2


def test_captions_have_256_tokens(folder, bundle):
    assert difference(folder, bundle, LONG, 9, (64, 64), 4, 3.0, 25) <= 2
    manifest = json.loads((bundle / "g4v.json").read_text("utf-8"))
    assert manifest["components"]["text_encoder"]["max_length"] == 256


def test_time_step_and_noise_of_the_vae(tmp_path):
    """A decoder that is told a time step and adds noise between its layers."""
    folder, out = write_ltx(tmp_path / "t2v", VAE_0_9_1, pipeline=PIPELINE), tmp_path / "b"
    manifest = export_bundle(None, out, overrides=Overrides(t2v=str(folder), **SMALL))
    decode = {"decode_timestep": 0.05, "decode_noise_scale": 0.025}
    change_json(out / "g4v.json", generation={"video": {**manifest["generation"]["video"], **decode}})
    assert difference(folder, out, CAPTION, 9, (64, 96), 4, 3.0, 25, decode) <= 2


def test_the_manifest(folder, bundle):
    manifest = json.loads((bundle / "g4v.json").read_text("utf-8"))
    video = manifest["generation"]["video"]
    assert video["pipeline"] == PIPELINE
    assert video["scheduler"] == {
        "type": "flow_match_euler",
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "use_linear_quadratic_sigmas": True,
    }
    assert video["schedulers"] == ["flow_match_euler"]
    assert manifest["components"]["transformer"]["frame_seconds"]
    errors = verify_bundle(None, bundle, overrides=Overrides(t2v=str(folder), **SMALL))
    assert set(errors) == set(manifest["components"]) and max(errors.values()) < 1e-4


def test_settings_of_the_pipeline(folder):
    video = Checkpoint.open(None, Overrides(t2v=str(folder))).about["generation"]["video"]
    assert video == {
        "frames": 161, "width": 704, "height": 512, "steps": 50, "guidance_scale": 3.0, "fps": 25
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 8}, "frames is 8 but must be 1 more than a multiple of 8, such as 1 or 9"),
        ({"video": np.zeros((9, 96, 64, 3), np.uint8)}, "makes videos of texts alone"),
        ({"fps": 1e-300}, "fps is too small for this bundle's transformer"),
        ({"fps": 1e-38, "frames": 17}, "fps is too small for this bundle's transformer"),
        ({"scheduler": "unipc"}, 'scheduler is "unipc" but must be "flow_match_euler", which'),
        ({"steps": 1001}, "steps is 1001 but must be 1 to 1000"),
    ],
)
def test_requests_that_do_not_fit(bundle, options, message):
    assistant = g4v.load(bundle, device="cpu", threads=1)
    with pytest.raises(g4v.Error, match=message):
        assistant.generate(CAPTION, **options)


def test_diffusers_takes_no_unipc(folder):
    """Why there is no other sampler: the pipeline gives time steps, which no other scheduler takes."""
    pipeline = diffusers.LTXConditionPipeline.from_pretrained(folder)
    pipeline.scheduler = diffusers.UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction"
    )
    with pytest.raises(ValueError, match="does not support custom timestep schedules"):
        pipeline(prompt=CAPTION, height=32, width=32, num_frames=1, num_inference_steps=2)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ({"scheduler": {"type": "unipc"}}, "unipc cannot sample the noise levels of LTXConditionPipeline"),
        ({"scheduler": {"type": "ddim"}}, "ddim cannot sample the noise levels of LTXConditionPipeline"),
        ({"schedulers": ["flow_match_euler", "unipc"]}, "schedulers: unipc cannot sample the noise levels"),
    ],
)
def test_other_samplers_of_a_run_are_refused(folder, video, message):
    checkpoint = Checkpoint.open(None, Overrides(t2v=str(folder), **SMALL))
    checkpoint.about["generation"]["video"] |= video
    with pytest.raises(ExportError, match=message):
        checkpoint.scheduler()
        checkpoint.schedulers()


def test_without_model_index_it_is_the_first_pipeline(copied):
    """Both have the same networks, so that nothing else tells."""
    (copied / "model_index.json").unlink()
    settings = Checkpoint.open(None, Overrides(t2v=str(copied), **SMALL)).scheduler()
    assert "use_linear_quadratic_sigmas" not in settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift": 2.0}, "shift 2.0 is not supported, only 1.0: LTXConditionPipeline gives"),
        ({"shift_terminal": 0.1}, "shift_terminal 0.1 is not supported, only null or 0: LTXC"),
        ({"use_dynamic_shifting": True}, "use_dynamic_shifting True is not supported, only False: LTXC"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas True is not supported"),
        ({"use_exponential_sigmas": True}, "use_exponential_sigmas True is not supported"),
        ({"use_beta_sigmas": True}, "use_beta_sigmas True is not supported"),
        ({"stochastic_sampling": True}, "stochastic_sampling True is not supported"),
        ({"invert_sigmas": True}, "invert_sigmas True is not supported"),
        ({"num_train_timesteps": 500}, "num_train_timesteps is 500 but must be 1000"),
        ({"invented": 1}, "unknown key 'invented'"),
    ],
)
def test_refused_by_name(copied, changes, message):
    change_json(copied / "scheduler" / "scheduler_config.json", **changes)
    with pytest.raises(ExportError, match=message):
        Checkpoint.open(None, Overrides(t2v=str(copied), **SMALL)).scheduler()


def test_another_scheduler_of_the_folder_is_refused(copied):
    unipc = {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}
    (copied / "scheduler" / "scheduler_config.json").write_text(json.dumps(unipc), "utf-8")
    index = json.loads((copied / "model_index.json").read_text("utf-8"))
    index["scheduler"] = ["diffusers", "UniPCMultistepScheduler"]
    (copied / "model_index.json").write_text(json.dumps(index), "utf-8")
    with pytest.raises(ExportError, match="UniPCMultistepScheduler' is not supported of LTXCondition"):
        Checkpoint.open(None, Overrides(t2v=str(copied), **SMALL)).scheduler()


@pytest.mark.parametrize(
    ("video", "scheduler", "message"),
    [
        ({"pipeline": "LTXPipeline"}, {}, 'has use_linear_quadratic_sigmas, which are of "LTXCondition'),
        ({}, {"use_linear_quadratic_sigmas": False}, "has no use_linear_quadratic_sigmas, which are those"),
        ({}, {"use_linear_quadratic_sigmas": 1}, "use_linear_quadratic_sigmas must be"),
        ({}, {"shift": 2.0}, "and with it must be no shift, shift_terminal"),
        ({}, {"shift_terminal": 0.1}, "and with it must be no shift"),
        ({}, {"use_dynamic_shifting": True}, "and with it must be no shift"),
        ({}, {"use_karras_sigmas": True}, "and with it must be no shift"),
        ({}, {"use_exponential_sigmas": True}, "and with it must be no shift"),
        ({}, {"stochastic_sampling": True}, "and with it must be no shift"),
        ({}, {"num_train_timesteps": 999}, "is of flow_match_euler with flow_prediction and 1000 num_tr"),
        ({"schedulers": ["unipc"]}, {"type": "unipc"}, "is of flow_match_euler with flow_prediction"),
        ({"schedulers": ["flow_match_euler", "unipc"]}, {}, 'must hold "flow_match_euler" alone'),
    ],
)
def test_manifests_that_are_refused(bundle, video, scheduler, message, tmp_path):
    out = shutil.copytree(bundle, tmp_path / "b")
    given = json.loads((out / "g4v.json").read_text("utf-8"))["generation"]["video"]
    change_json(out / "g4v.json", generation={"video": {
        **given, **video, "scheduler": {**given["scheduler"], **scheduler},
    }})  # fmt: skip
    with pytest.raises(g4v.Error, match=message):
        g4v.load(out, device="cpu", threads=1)
