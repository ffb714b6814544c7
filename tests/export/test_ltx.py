"""Bundles of an LTX-Video folder: the frames of diffusers' LTXPipeline from the same latents; refusals."""

import itertools
import json
import shutil
from unittest import mock

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import g4v
from g4v import cli
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.checkpoint.video_lora import VideoLora
from g4v.export.errors import ExportError

from ..ltx_folder import VAE_0_9_1, write_ltx
from ..wan_folder import change_json

CAPTION, NEGATIVE = "a red circle moving left, two blue squares 東京", "blurred"
SMALL = {"frames": 9, "video_size": (64, 96)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ltx(tmp_path_factory.mktemp("ltx") / "t2v")


@pytest.fixture(scope="module")
def bundle(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("ltx") / "bundle"
    export_bundle(None, out, overrides=Overrides(t2v=str(folder), **SMALL))
    return out


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "t2v")


@torch.no_grad()
def ltx_frames(folder, latents, height, width, options, scheduler=None):
    """uint8 [F, H, W, 3] of diffusers' pipeline, with transformers' tokenizer and text encoder."""
    pipeline = diffusers.LTXPipeline.from_pretrained(folder)
    if scheduler is not None:
        pipeline.scheduler = scheduler
    pipeline.set_progress_bar_config(disable=True)
    packed = pipeline._pack_latents(torch.from_numpy(latents)[None].clone())
    made = pipeline(
        CAPTION, negative_prompt=NEGATIVE, height=height, width=width, num_frames=options["frames"],
        frame_rate=options["fps"], num_inference_steps=options["steps"],
        guidance_scale=options["guidance_scale"], latents=packed, output_type="np",
    ).frames[0]  # fmt: skip
    return np.round(np.asarray(made) * 255).astype(np.uint8)


def difference(folder, bundle, frames, size, steps, guidance_scale, fps=25, scheduler=None, sampler=None):
    """Largest difference of two videos from the same latents, of 255."""
    width, height = size
    shape = (8, (frames - 1) // 8 + 1, height // 32, width // 32)
    latents = np.random.default_rng(frames).standard_normal(shape).astype(np.float32)
    options = {"frames": frames, "steps": steps, "guidance_scale": guidance_scale, "fps": fps}
    theirs = ltx_frames(folder, latents, height, width, options, scheduler)
    ours = (
        g4v.load(bundle, device="cpu", threads=1)
        .generate(
            CAPTION, negative_prompt=NEGATIVE, width=width, height=height, latents=latents,
            scheduler=sampler, **options,
        )
        .frames
    )  # fmt: skip
    assert ours.shape == theirs.shape == (frames, height, width, 3) and theirs.std() > 5
    return int(np.abs(ours.astype(int) - theirs.astype(int)).max())


@pytest.mark.parametrize(
    ("frames", "size", "steps", "guidance_scale", "fps"),
    [(17, (96, 64), 4, 3.0, 25), (1, (64, 64), 3, 1.0, 30), (9, (32, 128), 6, 4.5, 24)],
)
def test_frames_are_those_of_diffusers(frames, size, steps, guidance_scale, fps, folder, bundle):
    assert difference(folder, bundle, frames, size, steps, guidance_scale, fps) <= 1


def test_unipc(folder, bundle):
    config = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler").config
    changes = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    scheduler = diffusers.UniPCMultistepScheduler.from_config(config, **changes)
    assert difference(folder, bundle, 9, (64, 96), 5, 3.0, scheduler=scheduler, sampler="unipc") <= 1


def test_the_manifest(folder, bundle):
    manifest = json.loads((bundle / "g4v.json").read_text("utf-8"))
    components = manifest["components"]
    assert list(components) == ["text_encoder", "transformer", "vae_decoder"]
    video = manifest["generation"]["video"]
    assert video["pipeline"] == "LTXPipeline"
    sizes = (video["frames"], video["width"], video["height"], video["fps"], video["guidance_scale"])
    assert sizes == (9, 64, 96, 25, 3.0)
    assert video["scheduler"]["type"] == "flow_match_euler" and video["scheduler"]["shift_terminal"] == 0.1
    assert video["schedulers"] == ["flow_match_euler", "unipc"]
    texts = components["text_encoder"]
    assert texts["max_length"] == 128 and not {"attention_mask", "zero_padding"} & set(texts)
    network = components["transformer"]
    assert network["attention_mask"] and network["frame_seconds"] and "positions" not in network
    vae, stored = components["vae_decoder"], load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert vae["scale_factor"] == 32 and vae["whole"] == {"frames_per_latent": 8}
    assert np.allclose(vae["latents_std"], stored["latents_std"].numpy())
    assert set(manifest["provenance"]["samples"]) == {"text_encoder", "transformer", "vae_decoder"}
    assert max(map(float, manifest["provenance"]["relative_errors"].values())) < 1e-4
    errors = verify_bundle(None, bundle, overrides=Overrides(t2v=str(folder), **SMALL))
    assert set(errors) == set(components) and max(errors.values()) < 1e-4


@torch.no_grad()
def test_time_step_and_noise_of_the_vae(tmp_path):
    """Version 0.9.1: the noises are those of the seed, and stand in here for PyTorch's."""
    folder, out = write_ltx(tmp_path / "t2v", VAE_0_9_1), tmp_path / "b"
    manifest = export_bundle(None, out, overrides=Overrides(t2v=str(folder), **SMALL))
    whole = manifest["components"]["vae_decoder"]["whole"]
    assert whole["timestep"] and whole["noise_scales"]
    change_json(out / "g4v.json", generation={"video": {
        **manifest["generation"]["video"], "decode_timestep": 0.05, "decode_noise_scale": 0.025,
    }})  # fmt: skip
    latents = np.random.default_rng(0).standard_normal((8, 2, 3, 2)).astype(np.float32)
    seed, last = 7, (1 << 64) - 1

    def stream(number, shape):
        return torch.from_numpy(g4v._core.testing.noise(seed, int(np.prod(shape)), number).reshape(shape))

    pipeline = diffusers.LTXPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    numbers = itertools.count()
    module = diffusers.pipelines.ltx.pipeline_ltx
    with (
        mock.patch.object(module, "randn_tensor", lambda shape, **_: stream(last - 1, tuple(shape))),
        mock.patch.object(torch, "randn", lambda shape, **_: stream(last - 2 - next(numbers), tuple(shape))),
    ):
        theirs = pipeline(
            CAPTION, height=96, width=64, num_frames=9, num_inference_steps=2, guidance_scale=1.0,
            latents=pipeline._pack_latents(torch.from_numpy(latents)[None].clone()), output_type="np",
            decode_timestep=0.05, decode_noise_scale=0.025,
        ).frames[0]  # fmt: skip
    assert next(numbers) == len(whole["noise_scales"])
    assistant = g4v.load(out, device="cpu", threads=1)
    options = {"steps": 2, "guidance_scale": 1.0, "latents": latents}
    ours = assistant.generate(CAPTION, seed=seed, **options).frames
    assert np.abs(ours.astype(int) - np.round(np.asarray(theirs) * 255)).max() <= 2
    other = assistant.generate(CAPTION, seed=seed + 1, **options).frames
    assert np.abs(ours.astype(int) - other).max() > 2
    change_json(out / "g4v.json", components={
        **manifest["components"],
        "vae_decoder": {**manifest["components"]["vae_decoder"], "whole": {"frames_per_latent": 8}},
    })  # fmt: skip
    with pytest.raises(g4v.Error, match="has decode_timestep or decode_noise_scale, and the vae_decoder tak"):
        g4v.load(out, device="cpu", threads=1)


def test_a_caption_a_speed_and_a_seed_count(bundle):
    assistant = g4v.load(bundle, device="cpu", threads=1)
    options = {"seed": 1, "steps": 2, "guidance_scale": 1.0}
    one = assistant.generate(CAPTION, **options).frames
    assert np.array_equal(assistant.generate(CAPTION, **options).frames, one)
    for caption, change in (("a blue square", {}), (CAPTION, {"fps": 8}), (CAPTION, {"seed": 2})):
        other = assistant.generate(caption, **{**options, **change}).frames
        assert np.abs(one.astype(int) - other).max() > 1, (caption, change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 8}, "frames is 8 but must be 1 more than a multiple of 8, such as 1 or 9"),
        ({"width": 80}, "width is 80 but must be a multiple of 32"),
        ({"height": 16}, "height is 16 but must be 32 to 4096"),
        ({"latents": np.zeros((8, 9, 3, 2), np.float32)}, r"must be \[8, 2, 3, 2\], \[channels, latent fr"),
        ({"video": np.zeros((9, 96, 64, 3), np.uint8)}, "makes videos of texts alone"),
        ({"fps": 1e-300}, "fps is too small for this bundle's transformer"),
        ({"fps": 0}, "fps is 0 but must be above 0 and at most 1000"),
        ({"scheduler": "ddim"}, 'scheduler is "ddim" but must be'),
        ({"steps": 1}, "steps is 1, which the scheduler's shift_terminal does not allow"),
    ],
)
def test_requests_that_do_not_fit(bundle, options, message):
    assistant = g4v.load(bundle, device="cpu", threads=1)
    with pytest.raises(g4v.Error, match=message):
        assistant.generate(CAPTION, **options)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("model_index.json", {"_class_name": "LTXConditionPipeline"},
         "shift_terminal 0.1 is not supported, only null or 0: LTXConditionPipeline"),
        ("model_index.json", {"_class_name": "LTXLatentUpsamplePipeline"}, "it makes no videos of texts"),
        ("model_index.json", {"_class_name": "LTX2Pipeline"}, "pipeline 'LTX2Pipeline' is not supported"),
        ("model_index.json", {"_class_name": "LTXImageToVideoPipeline"}, "it makes videos of pictures"),
        ("model_index.json", {"_class_name": "WanPipeline"}, "is of WanPipeline, but transformer/ is of LTX"),
        ("model_index.json", {"latent_upsampler": ["diffusers", "X"]}, "unknown part 'latent_upsampler'"),
        ("model_index.json", {"vae": ["diffusers", "AutoencoderKLWan"]}, "vae is 'AutoencoderKLWan', which"),
        ("transformer/config.json", {"patch_size": 2}, "patch_size 2 is not supported, only 1"),
        ("transformer/config.json", {"patch_size_t": 2}, "patch_size_t 2 is not supported, only 1"),
        ("transformer/config.json", {"qk_norm": "rms_norm"}, "qk_norm 'rms_norm' is not supported"),
        ("transformer/config.json", {"activation_fn": "geglu"}, "activation_fn 'geglu' is not supported"),
        ("transformer/config.json", {"out_channels": 4}, "in_channels and out_channels differ"),
        ("transformer/config.json", {"cross_attention_dim": 48}, "cross_attention_dim is 48 but must be"),
        ("transformer/config.json", {"num_attention_heads": "2"}, "num_attention_heads is '2' but must hold"),
        ("transformer/config.json", {"num_layers": 10**6}, "num_layers is 1000000 but must be at most"),
        ("transformer/config.json", {"norm_eps": -1.0}, "norm_eps is -1.0 but must be a number from 0"),
        ("transformer/config.json", {"invented": 1}, "unknown key 'invented'"),
        ("vae/config.json", {"invented": 1}, "unknown key 'invented'"),
        ("vae/config.json", {"patch_size_t": 2}, "patch_size_t 2 is not supported"),
        ("vae/config.json", {"down_block_types": ["DownBlock"]}, "down_block_types 'DownBlock' is not supp"),
        ("vae/config.json", {"decoder_layers_per_block": [1]}, "decoder_layers_per_block is .* list of 5 el"),
        ("vae/config.json", {"upsample_factor": [3, 1, 1, 1]}, "upsample_factor do not fit together"),
        ("vae/config.json", {"timestep_conditioning": True}, "changes its channels takes neither"),
        ("vae/config.json", {"temporal_compression_ratio": 4}, "temporal_compression_ratio is 4, but"),
        ("vae/config.json", {"spatial_compression_ratio": 8}, "spatial_compression_ratio is 8, but the dec"),
        ("vae/config.json", {"scaling_factor": 0}, "scaling_factor is 0 but must be"),
        ("vae/config.json", {"latent_channels": 0}, "latent_channels is 0 but must hold integers from 1"),
        ("scheduler/scheduler_config.json", {"time_shift_type": 3}, "time_shift_type is 3 but must be"),
    ],
)  # fmt: skip
def test_refused_by_name(copied, file, changes, message, tmp_path):
    change_json(copied / file, **changes)
    with pytest.raises(ExportError, match=message):
        checkpoint = Checkpoint.open(None, Overrides(t2v=str(copied), **SMALL))
        checkpoint.scheduler()


def test_every_tensor_is_used_or_refused(copied, tmp_path):
    file = copied / "vae" / "diffusion_pytorch_model.safetensors"
    whole = load_file(file)
    for name, change in (
        ("latents_std", torch.zeros(8)),
        ("latents_mean", None),
        ("decoder.conv_in.conv.weight", None),
        ("decoder.invented", torch.ones(1)),
    ):
        tensors = {**whole, name: change}
        save_file({key: value for key, value in tensors.items() if value is not None}, file)
        with pytest.raises(ExportError, match=name):
            export_bundle(None, tmp_path / "b", overrides=Overrides(t2v=str(copied), **SMALL))
    assert not (tmp_path / "b").exists()


def test_options_that_do_not_fit(folder, copied, tmp_path):
    for change, message in (
        ({"video_size": (48, 32)}, "width and height must be multiples of 32, not 48x32"),
        ({"frames": 8}, "frames is 8 but must be 1 more than a multiple of 8, such as 1 or 9"),
        ({"video_to_video": True}, "makes videos of texts alone; leave --video-to-video out"),
    ):
        with pytest.raises(ExportError, match=message):
            Checkpoint.open(None, Overrides(t2v=str(folder), **{**SMALL, **change}))


def test_settings_of_the_pipeline(folder):
    video = Checkpoint.open(None, Overrides(t2v=str(folder))).about["generation"]["video"]
    assert video == {
        "frames": 161, "width": 704, "height": 512, "steps": 50, "guidance_scale": 3.0, "fps": 25
    }  # fmt: skip


def test_dry_run_and_info(folder, bundle, tmp_path, capsys):
    from g4v.export.__main__ import main

    options = ["--t2v", str(folder), "--frames", "9", "--video-size", "64x96"]
    assert main([*options, "--dry-run", "--out", str(tmp_path / "b")]) == 0
    told = capsys.readouterr().out
    assert "transformer" in told and "vae_decoder" in told and "video of 9 frames" in told
    assert not (tmp_path / "b").exists()
    assert cli.main(["inspect", str(bundle)]) == 0
    assert "transformer" in capsys.readouterr().out


def test_lora(folder, tmp_path):
    """diffusers' names of a transformer's adapter."""
    layer = "transformer.transformer_blocks.1.attn2.to_k"
    down, up = torch.randn(2, 32), torch.randn(32, 2)
    file = tmp_path / "lora.safetensors"
    save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, file)
    plain, merged = (
        Checkpoint.open(None, Overrides(t2v=str(folder), video_loras=given, **SMALL)).transformer()
        for given in ((), (VideoLora(file, 0.5),))
    )
    of = (model.transformer_blocks[1].attn2.to_k.weight for model in (merged, plain))
    assert torch.allclose(next(of) - next(of), 0.5 * up @ down, atol=1e-5)


@pytest.mark.slow
def test_cuda(folder, tmp_path):
    """A kernel for every node, and numbers that are right on the CPU."""
    overrides = Overrides(t2v=str(folder), **SMALL)
    manifest = export_bundle(
        None, tmp_path / "b", targets=["cuda"], precision="transformer=fp16", overrides=overrides
    )
    errors = manifest["provenance"]["relative_errors"]
    assert 1e-5 < float(errors["transformer (cuda)"]) < 1e-2
    assert 1e-5 < float(errors["vae_decoder (cuda)"]) < 1e-2


def test_previews_frames_and_weights(bundle):
    """A preview of a latent, all frames as one piece, and weights of words, whose states are masked."""
    assistant, previews, pieces = g4v.load(bundle, device="cpu", threads=1), [], []
    options = {"seed": 3, "steps": 2}
    plain = assistant.generate(CAPTION, **options).frames
    frames = assistant.generate(
        CAPTION,
        preview_every=1,
        on_preview=lambda picture, *_: previews.append(picture),
        on_frames=lambda piece: pieces.append(piece),
        **options,
    ).frames
    assert np.array_equal(plain, frames) and len(previews) == 2
    (piece,) = pieces
    assert piece.first == 0 and np.array_equal(piece.frames, frames)
    same = assistant.generate("(a red circle)1 moving", prompt_weighting=True, **options).frames
    other = assistant.generate("(a red circle)1.5 moving", prompt_weighting=True, **options).frames
    assert same.shape == plain.shape and not np.array_equal(same, other)
