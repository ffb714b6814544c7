"""Videos of an exported bundle against diffusers' own pipeline, from the same latents."""

import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

import g4v
from g4v._core import testing
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.samplers import sensible_samplers
from g4v.export.checkpoint.scheduler import read_scheduler

from ..diffusers_samplers import make, replayed, start

CAPTION, NEGATIVE = "a red circle moving left", "blurred"
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
DDIM = {
    "_class_name": "DDIMScheduler",
    **BETAS,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
DPM = {"_class_name": "DPMSolverMultistepScheduler", **BETAS, "steps_offset": 1}
EULER = {"_class_name": "EulerDiscreteScheduler", **BETAS, "steps_offset": 1}
UNIPC = EULER | {"_class_name": "UniPCMultistepScheduler"}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
FAMILIES = {
    "ddim": DDIM,
    "ddim, velocity, zero terminal SNR": DDIM
    | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    "ddim, clipped sample": DDIM
    | {"prediction_type": "sample", "clip_sample": True, "clip_sample_range": 0.8},
    "ddim, cosine": DDIM | {"beta_schedule": "squaredcos_cap_v2", "steps_offset": 0},
    "dpm": DPM,
    "dpm, leading, velocity": DPM | {"timestep_spacing": "leading", "prediction_type": "v_prediction"},
    "dpm, Karras": DPM | {"use_karras_sigmas": True},
    "dpm, Karras, ends at sigma_min": DPM
    | {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min", "lower_order_final": False},
    "dpm, cosine, Karras": DPM | {"use_karras_sigmas": True, "beta_schedule": "squaredcos_cap_v2"},
    "dpm, first order": DPM | {"solver_order": 1, "timestep_spacing": "trailing"},
    "dpm, sample": DPM | {"prediction_type": "sample", "euler_at_final": True},
    "dpm, third order": DPM | {"solver_order": 3, "solver_type": "heun"},
    "sde": DPM | {"algorithm_type": "sde-dpmsolver++"},
    "sde, Karras, velocity": DPM
    | {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True, "prediction_type": "v_prediction"},
    "euler": EULER,
    "euler, leading, velocity": EULER | {"timestep_spacing": "leading", "prediction_type": "v_prediction"},
    "euler, Karras": EULER | {"use_karras_sigmas": True},
    "euler ancestral": EULER | {"_class_name": "EulerAncestralDiscreteScheduler"},
    "euler ancestral, velocity, trailing": EULER
    | {
        "_class_name": "EulerAncestralDiscreteScheduler",
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
    },
    "unipc": UNIPC,
    "unipc, third order, velocity": UNIPC | {"solver_order": 3, "prediction_type": "v_prediction"},
    "unipc, flow": UNIPC | {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0},
    "lcm": EULER | {"_class_name": "LCMScheduler"},
    "flow matching": FLOW,
    "flow matching, stochastic": FLOW | {"stochastic_sampling": True},
}


class Reference:
    """diffusers' TextToVideoSDPipeline with the parts of a run."""

    def __init__(self, run):
        checkpoint = Checkpoint.open(run)
        parts = {"text_encoder": "text_encoder", "unet": "unet", "vae": "vae"}
        parts = {name: getattr(checkpoint, load)().float() for name, load in parts.items()}
        self.encoder, self.tokenizer = parts["text_encoder"], checkpoint.tokenizer("text_encoder")
        scheduler = diffusers.DDIMScheduler(clip_sample=False)
        self.pipeline = diffusers.TextToVideoSDPipeline(
            tokenizer=self.tokenizer, scheduler=scheduler, **parts
        )
        self.pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def embed(self, text):
        """States of a text, cut and padded as CLIPTokenizer does it."""
        tokenizer, length = self.tokenizer, self.encoder.config.max_position_embeddings
        ids = tokenizer.encode(text, add_special_tokens=False)[: length - 2]
        ids = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
        ids += [tokenizer.pad_token_id] * (length - len(ids))
        return self.encoder(torch.tensor([ids])).last_hidden_state

    @torch.no_grad()
    def make(self, scheduler, latents, noise, height, width, steps, guidance_scale):
        """uint8 [F, H, W, 3]. noise: [steps, C, F, h, w], what each step may add."""
        self.pipeline.scheduler = scheduler
        set_timesteps = scheduler.set_timesteps
        scheduler.set_timesteps = lambda count, device=None: start(scheduler, count, set_timesteps)
        if not hasattr(scheduler, "scale_model_input"):  # flow matching, which this pipeline does not know
            scheduler.scale_model_input, scheduler.init_noise_sigma = lambda sample, _: sample, 1.0
        drawn = iter(torch.from_numpy(noise).transpose(1, 2))  # the pipeline steps frame by frame
        with replayed(scheduler, drawn, double=False):
            frames = self.pipeline(
                prompt_embeds=self.embed(CAPTION), negative_prompt_embeds=self.embed(NEGATIVE), height=height,
                width=width, num_frames=latents.shape[1], num_inference_steps=steps,
                guidance_scale=guidance_scale, latents=torch.from_numpy(latents)[None].clone(),
                output_type="np",
            ).frames[0]  # fmt: skip
        return np.round(np.asarray(frames) * 255).astype(np.uint8)


def with_scheduler(bundle, folder, config):
    """A copy of the bundle with the scheduler of a scheduler_config.json."""
    shutil.copytree(bundle, folder)
    (folder / "t2v" / "scheduler").mkdir(parents=True)
    (folder / "t2v" / "scheduler" / "scheduler_config.json").write_text(json.dumps(config), "utf-8")
    manifest = json.loads((folder / "g4v.json").read_text("utf-8"))
    settings = read_scheduler(folder / "t2v")
    manifest["generation"]["video"] |= {"scheduler": settings, "schedulers": sensible_samplers(settings)}
    (folder / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    return folder


def noise_of(seed, steps, shape, shared):
    """What the steps of a video add, [steps, C, F, h, w]; `shared` of the variance is that of all frames."""
    channels, frames, height, width = shape
    own, common = int(np.prod(shape)), channels * height * width
    drawn = np.stack([testing.noise(seed, own + common, step + 1) for step in range(steps)])
    mixed = np.sqrt(1 - shared) * drawn[:, :own].reshape(steps, *shape)
    mixed += np.sqrt(shared) * drawn[:, own:].reshape(steps, channels, 1, height, width)
    return mixed.astype(np.float32)


def compare(reference, bundle, config, shape, scale, steps, guidance_scale, seed=0, sampler=None):
    """Largest difference of two videos from the same latents, of 255; both must be pictures of something."""
    channels, frames, height, width = shape
    latents = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    video = json.loads((bundle / "g4v.json").read_text("utf-8"))["generation"]["video"]
    noise = noise_of(seed + 5, steps, shape, video.get("shared_noise", 0))
    scheduler = make(sampler or video["scheduler"]["type"], config)
    size = (height * scale, width * scale)
    theirs = reference.make(scheduler, latents, noise, *size, steps, guidance_scale)
    ours = g4v.load(bundle, device="cpu", threads=1).generate(
        CAPTION, steps=steps, guidance_scale=guidance_scale, negative_prompt=NEGATIVE, frames=frames,
        width=width * scale, height=height * scale, latents=latents, seed=seed + 5, scheduler=sampler,
    ).frames  # fmt: skip
    assert ours.shape == theirs.shape and theirs.std() > 5
    return int(np.abs(ours.astype(int) - theirs.astype(int)).max())


@pytest.fixture(scope="module")
def reference(run):
    return Reference(run)


@pytest.mark.parametrize("family", FAMILIES)
def test_frames_are_those_of_diffusers(family, reference, bundle, tmp_path):
    config = FAMILIES[family]
    made = with_scheduler(bundle, tmp_path / "bundle", config)
    assert compare(reference, made, config, (4, 2, 8, 6), 4, 4, 6.0) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_longer_videos_are_those_of_diffusers(family, reference, bundle, tmp_path):
    config = FAMILIES[family]
    made = with_scheduler(bundle, tmp_path / "bundle", config)
    for seed, steps, guidance_scale in ((1, 16, 1.5), (2, 7, 12.0)):
        assert compare(reference, made, config, (4, 5, 8, 12), 4, steps, guidance_scale, seed) <= 1, steps


@pytest.mark.slow
@pytest.mark.parametrize("family", [None, "dpm, Karras", "ddim, velocity, zero terminal SNR"])
def test_the_embedded_bundle(family, tmp_path):
    """Trained weights, with the run's own scheduler and with others that predict the same."""
    bundle = Path(g4v.__file__).parent / "bundles" / "tiny"
    run = Path(__file__).parents[2] / "python" / "g4v" / "checkpoints" / "tiny"  # in no wheel
    own = json.loads((run / "t2v" / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    config = own if family is None else FAMILIES[family] | {"prediction_type": "v_prediction"}
    made = bundle if family is None else with_scheduler(bundle, tmp_path / "bundle", config)
    assert compare(Reference(run), made, config, (8, 8, 8, 8), 8, 20, 4.0) <= 1


@pytest.mark.slow
def test_samplers_of_the_embedded_bundle():
    """All that it offers, by the name in a request."""
    bundle = Path(g4v.__file__).parent / "bundles" / "tiny"
    run = Path(__file__).parents[2] / "python" / "g4v" / "checkpoints" / "tiny"  # in no wheel
    own = json.loads((run / "t2v" / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    offered = g4v.load(bundle, device="cpu", threads=1).info["video"]["schedulers"]
    assert len(offered) >= 6
    reference = Reference(run)
    for sampler in offered:
        assert compare(reference, bundle, own, (8, 8, 8, 8), 8, 12, 4.0, sampler=sampler) <= 1, sampler


def test_without_guidance(reference, bundle, tmp_path):
    made = with_scheduler(bundle, tmp_path / "bundle", DDIM)
    assert compare(reference, made, DDIM, (4, 2, 8, 8), 4, 4, 1.0) <= 1


def test_other_latents_make_another_video(reference, bundle, tmp_path):
    """The comparison above can fail: another time step spacing is seen."""
    made = with_scheduler(bundle, tmp_path / "bundle", DDIM | {"timestep_spacing": "trailing"})
    assert compare(reference, made, DDIM, (4, 2, 8, 8), 4, 4, 6.0) > 1
