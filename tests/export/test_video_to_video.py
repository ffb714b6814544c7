"""Videos from videos and pictures: with the same noise the frames of diffusers' VideoToVideoSDPipeline."""

import contextlib
import json
from unittest import mock

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders import vae as diffusers_vae
from diffusers.pipelines.deprecated.text_to_video_synthesis import (
    pipeline_text_to_video_synth_img2img as img2img,
)
from PIL import Image

import g4v
from g4v._core import testing
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError

from ..diffusers_samplers import make, noised, replayed
from .test_pipeline import CAPTION, DDIM, FAMILIES, NEGATIVE, Reference, noise_of, with_scheduler

VIDEO_PARTS = ("text_encoder", "unet", "vae_decoder", "vae_encoder")
POSTERIOR = 2**64 - 1  # stream of the seed's noise that the latents of the source are drawn by
STRENGTHS = (0.2, 0.35, 0.5, 0.6, 0.75, 0.9, 1.0)


class VideoToVideo(Reference):
    """diffusers' VideoToVideoSDPipeline with the parts of a run."""

    def __init__(self, run):
        super().__init__(run)
        parts = {name: getattr(self.pipeline, name) for name in ("vae", "text_encoder", "tokenizer", "unet")}
        scheduler = diffusers.DDIMScheduler(clip_sample=False)
        self.pipeline = diffusers.VideoToVideoSDPipeline(scheduler=scheduler, **parts)
        self.pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def edit(self, scheduler, video, strength, latents, posterior, noise, steps, guidance_scale):
        """uint8 [F, H, W, 3]. video: the same. latents: the noise that is added; posterior: that of the
        encoder's distributions; both [C, F, h, w]. noise: [steps, C, F, h, w], what each step may add.
        """
        self.pipeline.scheduler = scheduler
        if not hasattr(scheduler, "scale_model_input"):  # flow matching, which this pipeline does not know
            scheduler.scale_model_input = lambda sample, _: sample
            scheduler.add_noise = lambda image, added, time: scheduler.scale_noise(image, time, added)
        first = steps - min(int(steps * strength), steps)
        drawn = iter(torch.from_numpy(noise[first:]).transpose(1, 2))

        def given(values):
            frames = torch.from_numpy(values).transpose(0, 1).contiguous()
            return lambda shape, **_: frames if tuple(shape) == tuple(frames.shape) else pytest.fail(shape)

        with contextlib.ExitStack() as stack:
            stack.enter_context(replayed(scheduler, drawn, double=False))
            stack.enter_context(mock.patch.object(img2img, "randn_tensor", given(latents)))
            stack.enter_context(mock.patch.object(diffusers_vae, "randn_tensor", given(posterior)))
            frames = self.pipeline(
                prompt_embeds=self.embed(CAPTION), negative_prompt_embeds=self.embed(NEGATIVE),
                video=[Image.fromarray(frame) for frame in video], strength=strength,
                num_inference_steps=steps, guidance_scale=guidance_scale, output_type="np",
            ).frames[0]  # fmt: skip
        return np.round(np.asarray(frames) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def reference(run):
    return VideoToVideo(run)


@pytest.fixture(scope="module")
def editing_bundle(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "editing"
    export_bundle(run, out, only=VIDEO_PARTS, overrides=Overrides(video_to_video=True))
    return out


def a_video(seed, frames, height, width):
    """Smooth shapes with some noise, so that the encoder has something to encode."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [
        np.sin(6.3 * (rows * random.uniform(0.5, 2) + columns * random.uniform(0.5, 2) + 0.1 * k))
        for k in range(frames * 3)
    ]
    pixels = np.stack(waves).reshape(frames, 3, height, width).transpose(0, 2, 3, 1)
    return np.clip(127.5 + 100 * pixels + 8 * random.standard_normal(pixels.shape), 0, 255).astype(np.uint8)


def edited(reference, bundle, config, video, strength, steps=6, guidance_scale=6.0, seed=0, frames=None):
    """(ours, theirs) of a video that is made from `video`; of a picture `frames` frames."""
    count = frames or len(video)
    height, width = (side // 4 for side in video.shape[1:3])
    shape = (4, count, height, width)
    settings = json.loads((bundle / "g4v.json").read_text("utf-8"))["generation"]["video"]
    latents = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    noise = noise_of(seed + 5, steps, shape, settings.get("shared_noise", 0))
    posterior = testing.noise(seed + 5, int(np.prod(shape)), POSTERIOR).reshape(shape)
    scheduler = make(settings["scheduler"]["type"], config)
    repeated = np.repeat(video, count // len(video), axis=0)
    theirs = reference.edit(scheduler, repeated, strength, latents, posterior, noise, steps, guidance_scale)
    ours = g4v.load(bundle, device="cpu", threads=1).generate(
        CAPTION, steps=steps, guidance_scale=guidance_scale, negative_prompt=NEGATIVE, frames=count,
        width=width * 4, height=height * 4, latents=latents, seed=seed + 5, video=video, strength=strength,
    ).frames  # fmt: skip
    assert ours.shape == theirs.shape == (count, *video.shape[1:]) and theirs.std() > 5
    return ours.astype(int), theirs.astype(int)


def difference(*arguments, **options):
    ours, theirs = edited(*arguments, **options)
    return int(np.abs(ours - theirs).max())


@pytest.mark.parametrize(("number", "family"), list(enumerate(FAMILIES)), ids=list(FAMILIES))
def test_frames_are_those_of_diffusers(number, family, reference, editing_bundle, tmp_path):
    """Every sampler that the core has, each at another strength."""
    config = FAMILIES[family]
    made = with_scheduler(editing_bundle, tmp_path / "bundle", config)
    strength = STRENGTHS[number % len(STRENGTHS)]
    assert difference(reference, made, config, a_video(number, 2, 32, 24), strength) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("family", FAMILIES)
def test_other_strengths(family, number, reference, editing_bundle, tmp_path):
    """Of each sampler two more; all samplers together have every one many times."""
    config = FAMILIES[family]
    strength = STRENGTHS[(list(FAMILIES).index(family) + 2 * number + 1) % len(STRENGTHS)]
    made = with_scheduler(editing_bundle, tmp_path / "bundle", config)
    video = a_video(3, 3, 24, 32)
    assert difference(reference, made, config, video, strength, 11, 1.5, seed=1) <= 1
    assert difference(reference, made, config, video[:1], strength, 17, 8.0, seed=2, frames=4) <= 1


@pytest.mark.parametrize("strength", [0.34, 0.9])
def test_a_picture_stands_for_every_frame(strength, reference, editing_bundle, tmp_path):
    made = with_scheduler(editing_bundle, tmp_path / "bundle", DDIM)
    picture = a_video(9, 1, 24, 32)
    assert difference(reference, made, DDIM, picture, strength, frames=3, guidance_scale=1.0) <= 1


def test_the_comparison_can_fail(reference, editing_bundle, tmp_path):
    """One step more, and another video, are seen."""
    made = with_scheduler(editing_bundle, tmp_path / "bundle", DDIM)
    video = a_video(0, 2, 24, 24)
    ours, _ = edited(reference, made, DDIM, video, 0.5)
    _, longer = edited(reference, made, DDIM, video, 0.67)
    _, other = edited(reference, made, DDIM, video[::-1].copy(), 0.5)
    assert min(np.abs(ours - longer).max(), np.abs(ours - other).max()) > 1


def test_the_manifest_and_the_report_of_the_graph(run, editing_bundle):
    manifest = json.loads((editing_bundle / "g4v.json").read_text("utf-8"))
    assert list(manifest["components"]) == list(VIDEO_PARTS)
    (variant,) = manifest["components"]["vae_encoder"]["variants"]
    assert variant["graph"] == "vae_encoder.onnx" and variant["precision"] == "fp32"
    errors = verify_bundle(run, editing_bundle)
    assert errors["vae_encoder"] < 1e-4
    assert manifest["provenance"]["samples"]["vae_encoder"]["inputs"] == "real"


def test_without_being_asked_the_encoder_is_not_written(run, bundle):
    assert "vae_encoder" not in json.loads((bundle / "g4v.json").read_text("utf-8"))["components"]
    with pytest.raises(g4v.BundleError, match="no vae_encoder, .* export it with --video-to-video"):
        g4v.load(bundle, device="cpu", threads=1).generate("x", video=a_video(0, 1, 32, 32))


def test_asked_for_and_left_out_is_refused(run, tmp_path):
    asked = Overrides(video_to_video=True)
    with pytest.raises(
        ExportError, match="--video-to-video writes vae_encoder, which --component leaves out"
    ):
        export_bundle(run, tmp_path / "out", only=["unet"], overrides=asked)
    assert not (tmp_path / "out").exists()


def test_without_a_text_to_video_model_it_is_refused(run):
    llm = Checkpoint.open(run).parts["llm"]
    with pytest.raises(ExportError, match="--video-to-video writes the encoder of its VAE"):
        Checkpoint.open(None, Overrides(llm=str(llm), template="vicuna", video_to_video=True))


def test_noise_is_added_as_diffusers_names_it():
    """What the comparison takes for add_noise of flow matching is its scale_noise."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(4)
    one, zero = torch.ones(1), torch.zeros(1)
    sigma = scheduler.sigmas[2]
    assert torch.allclose(noised(scheduler, one, zero, scheduler.timesteps[2:3]), 1 - sigma)
