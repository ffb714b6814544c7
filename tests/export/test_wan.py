"""Bundles of a Wan 2.1 folder: the frames of diffusers' WanPipeline from the same latents, and refusals."""

import json
import shutil
from unittest import mock

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.wan import pipeline_wan
from safetensors.torch import load_file, save_file

import g4v
from g4v import cli
from g4v.export.bundle.export import export_bundle
from g4v.export.bundle.verify import verify_bundle
from g4v.export.checkpoint.overrides import Overrides
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.errors import ExportError

from ..wan_folder import TRANSFORMER, change_json, write_wan

CAPTION, NEGATIVE = "a red circle moving left, two blue squares \u6771\u4eac", "blurred"
SMALL = {"frames": 5, "video_size": (32, 48)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_wan(tmp_path_factory.mktemp("wan") / "t2v")


@pytest.fixture(scope="module")
def bundle(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("wan") / "bundle"
    export_bundle(None, out, overrides=Overrides(t2v=str(folder), **SMALL))
    return out


@pytest.fixture(scope="module")
def small_bundle(run, tmp_path_factory):
    """Of the UNet of the same run."""
    out = tmp_path_factory.mktemp("unet") / "bundle"
    export_bundle(run, out, only=["text_encoder", "unet", "vae_decoder"])
    return out


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "t2v")


@torch.no_grad()
def wan_frames(folder, latents, height, width, frames, steps, guidance_scale, scheduler=None):
    """uint8 [F, H, W, 3] of diffusers' pipeline, with transformers' tokenizer and text encoder."""
    pipeline = diffusers.WanPipeline.from_pretrained(folder)
    if scheduler is not None:
        pipeline.scheduler = scheduler
    pipeline.set_progress_bar_config(disable=True)
    # It cleans texts by ftfy, which the captions here have no need of.
    with mock.patch.object(pipeline_wan, "prompt_clean", str.strip):
        made = pipeline(
            CAPTION, negative_prompt=NEGATIVE, height=height, width=width, num_frames=frames,
            num_inference_steps=steps, guidance_scale=guidance_scale,
            latents=torch.from_numpy(latents)[None].clone(), output_type="np",
        ).frames[0]  # fmt: skip
    return np.round(np.asarray(made) * 255).astype(np.uint8)


def difference(folder, bundle, frames, size, steps, guidance_scale, seed=0, scheduler=None, sampler=None):
    """Largest difference of two videos from the same latents, of 255."""
    width, height = size
    shape = (4, (frames - 1) // 4 + 1, height // 8, width // 8)
    latents = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    theirs = wan_frames(folder, latents, height, width, frames, steps, guidance_scale, scheduler)
    ours = (
        g4v.load(bundle, device="cpu", threads=1)
        .generate(
            CAPTION, steps=steps, guidance_scale=guidance_scale, negative_prompt=NEGATIVE, frames=frames,
            width=width, height=height, latents=latents, scheduler=sampler,
        )
        .frames
    )  # fmt: skip
    assert ours.shape == theirs.shape == (frames, height, width, 3) and theirs.std() > 5
    return int(np.abs(ours.astype(int) - theirs.astype(int)).max())


@pytest.mark.parametrize(
    ("frames", "size", "steps", "guidance_scale"),
    [(9, (48, 32), 4, 5.0), (1, (32, 32), 3, 1.0), (13, (16, 64), 6, 3.0)],
)
def test_frames_are_those_of_diffusers(frames, size, steps, guidance_scale, folder, bundle):
    assert difference(folder, bundle, frames, size, steps, guidance_scale, seed=frames) <= 1


def test_flow_matching_euler(folder, bundle):
    config = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    found = difference(folder, bundle, 5, (32, 48), 5, 4.0, scheduler=config, sampler="flow_match_euler")
    assert found <= 1


def test_the_manifest(folder, bundle):
    manifest = json.loads((bundle / "g4v.json").read_text("utf-8"))
    components = manifest["components"]
    assert list(components) == ["text_encoder", "transformer", "vae_decoder"]
    assert manifest["generation"]["video"]["pipeline"] == "WanPipeline"
    video = manifest["generation"]["video"]
    assert (video["frames"], video["width"], video["height"], video["fps"]) == (5, 32, 48, 16)
    assert video["scheduler"]["type"] == "unipc" and video["scheduler"]["shift"] == 3.0
    texts = components["text_encoder"]
    assert texts["max_length"] == 512 and texts["attention_mask"] and texts["zero_padding"]
    assert components["transformer"]["patch_size"] == [1, 2, 2]
    vae = components["vae_decoder"]
    assert vae["scale_factor"] == 8 and vae["causal"]["frames_per_latent"] == 4
    assert vae["latents_std"] == [1.5, 0.8, 1.0, 2.0]
    # Both networks were compared on real inputs too.
    assert set(manifest["provenance"]["samples"]) == {"text_encoder", "transformer", "vae_decoder"}
    assert max(map(float, manifest["provenance"]["relative_errors"].values())) < 1e-4
    errors = verify_bundle(None, bundle, overrides=Overrides(t2v=str(folder), **SMALL))
    assert set(errors) == set(components) and max(errors.values()) < 1e-4


def test_a_caption_counts(bundle):
    assistant = g4v.load(bundle, device="cpu", threads=1)
    options = {"seed": 1, "steps": 2, "frames": 1}
    one, other = (assistant.generate(text, **options).frames for text in (CAPTION, "a blue square"))
    assert np.abs(one.astype(int) - other).max() > 1


def test_weights_in_several_files(folder):
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 1
    whole = Checkpoint.open(None, Overrides(t2v=str(folder), **SMALL)).transformer().state_dict()
    wanted = diffusers.WanTransformer3DModel.from_pretrained(folder / "transformer").state_dict()
    assert set(whole) == set(wanted) and all(torch.equal(whole[name], wanted[name]) for name in wanted)


def test_a_component_alone(folder, bundle, tmp_path, request):
    """It takes its place in a bundle of the same networks, and in none with a UNet."""
    options = {"overrides": Overrides(t2v=str(folder), **SMALL), "only": ["transformer"], "force": True}
    out = shutil.copytree(bundle, tmp_path / "b")
    before = json.loads((out / "g4v.json").read_text("utf-8"))
    manifest = export_bundle(None, out, precision="transformer=int8", **options)
    assert list(manifest["components"]) == list(before["components"])
    assert manifest["generation"] == before["generation"]
    assert manifest["components"]["vae_decoder"] == before["components"]["vae_decoder"]
    g4v.load(out, device="cpu", threads=1).generate(CAPTION, steps=1, frames=1)
    other = shutil.copytree(request.getfixturevalue("small_bundle"), tmp_path / "other")
    with pytest.raises(ExportError, match="a bundle has unet or transformer, and not both"):
        export_bundle(None, other, **options)
    assert "unet" in json.loads((other / "g4v.json").read_text("utf-8"))["components"]
    with pytest.raises(ExportError, match="has no vae_encoder to export"):
        export_bundle(None, tmp_path / "c", **{**options, "only": ["vae_encoder"]})


@pytest.mark.slow
def test_cuda(folder, tmp_path):
    """A kernel for every node, and numbers that are right on the CPU."""
    overrides = Overrides(t2v=str(folder), **SMALL)
    for precision, least, most in (("transformer=fp16", 1e-5, 1e-2), ("transformer=bf16", 1e-3, 8e-2)):
        manifest = export_bundle(
            None, tmp_path / precision, targets=["cuda"], precision=precision, overrides=overrides
        )
        errors = manifest["provenance"]["relative_errors"]
        assert least < float(errors["transformer (cuda)"]) < most
        assert 1e-5 < float(errors["vae_decoder (cuda)"]) < 1e-2
    with pytest.raises(ExportError, match="vae_decoder cannot be written in 'bf16' for cuda"):
        export_bundle(
            None, tmp_path / "b", targets=["cuda"], precision="vae_decoder=bf16", overrides=overrides
        )


@pytest.mark.slow
def test_engines(folder, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    from g4v.export.engines.options import EngineOptions

    manifest = export_bundle(
        None, tmp_path / "b", targets=["tensorrt-rtx"], engines=EngineOptions(capabilities=("8.9",)),
        overrides=Overrides(t2v=str(folder), **SMALL), only=["transformer", "vae_decoder"],
    )  # fmt: skip
    profiles = {name: part["variants"][0]["profile"] for name, part in manifest["components"].items()}
    assert profiles["transformer"]["frames"] == (1, 2, 2)  # of latents
    assert profiles["vae_decoder"]["height_x2"] == (12, 12, 12)
    assert profiles["vae_decoder"]["width"] == (32, 32, 32)


def test_seeds(bundle):
    assistant = g4v.load(bundle, device="cpu", threads=1)
    made = [assistant.generate(CAPTION, seed=seed, steps=2).frames for seed in (3, 3, 4)]
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 6}, "frames is 6 but must be 1 more than a multiple of 4, such as 5 or 9"),
        ({"frames": 4}, "frames is 4 but must be 1 more than a multiple of 4, such as 1 or 5"),
        ({"width": 40}, "width is 40 but must be a multiple of 16"),
        ({"height": 24}, "height is 24 but must be a multiple of 16"),
        ({"frames": 1021}, "frames is 1021 but this bundle's transformer has positions for at most 125"),
        ({"width": 528}, "width is 528 but this bundle's transformer has positions for at most 512"),
        ({"latents": np.zeros((4, 5, 6, 4), np.float32)}, r"must be \[4, 2, 6, 4\], \[channels, latent fr"),
        ({"video": np.zeros((5, 48, 32, 3), np.uint8)}, "makes videos of texts alone"),
    ],
)
def test_requests_that_do_not_fit(bundle, options, message):
    assistant = g4v.load(bundle, device="cpu", threads=1)
    with pytest.raises(g4v.Error, match=message):
        assistant.generate(CAPTION, **options)


def test_int8(folder, tmp_path):
    manifest = export_bundle(
        None, tmp_path / "b", precision="transformer=int8", overrides=Overrides(t2v=str(folder), **SMALL)
    )
    (variant,) = manifest["components"]["transformer"]["variants"]
    assert variant["precision"] == "int8"
    assert 1e-4 < float(manifest["provenance"]["relative_errors"]["transformer"]) < 1e-1
    assert difference(folder, tmp_path / "b", 5, (32, 48), 3, 4.0) < 40


def test_lora(folder, tmp_path):
    """diffusers' names of a transformer's adapter."""
    layer = "transformer.blocks.1.attn1.to_q"
    down, up = torch.randn(2, 24), torch.randn(24, 2)
    file = tmp_path / "lora.safetensors"
    save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, file)
    from g4v.export.checkpoint.video_lora import VideoLora

    loras = (VideoLora(file, 0.5),)
    plain, merged = (
        Checkpoint.open(None, Overrides(t2v=str(folder), video_loras=given, **SMALL)).transformer()
        for given in ((), loras)
    )
    change = merged.blocks[1].attn1.to_q.weight - plain.blocks[1].attn1.to_q.weight
    assert torch.allclose(change, 0.5 * up @ down, atol=1e-5)
    save_file({"unet.x.lora_A.weight": down, "unet.x.lora_B.weight": up}, file)
    with pytest.raises(ExportError, match="is of a unet, which this model does not have"):
        Checkpoint.open(None, Overrides(t2v=str(folder), video_loras=loras, **SMALL))


def wan_layers(block):
    """Layers of a block by their names in Wan's own code, with their shapes."""
    width = TRANSFORMER["num_attention_heads"] * TRANSFORMER["attention_head_dim"]
    inner = TRANSFORMER["ffn_dim"]
    square = {f"blocks.{block}.{a}_attn.{part}": (width, width) for a in ("self", "cross") for part in "qkvo"}
    return square | {f"blocks.{block}.ffn.0": (inner, width), f"blocks.{block}.ffn.2": (width, inner)}


def original_lora(layout):
    """An adapter on every layer of all blocks, as it is published. layout: "original", "down", "kohya"."""
    generator, tensors = torch.Generator().manual_seed(3), {}
    for block in range(TRANSFORMER["num_layers"]):
        for name, (rows, columns) in wan_layers(block).items():
            factors = [torch.randn(shape, generator=generator) for shape in ((4, columns), (rows, 4))]
            stem = f"lora_unet_{name.replace('.', '_')}" if layout == "kohya" else f"diffusion_model.{name}"
            for factor, role in zip(factors, ("AB" if layout == "original" else ("down", "up")), strict=True):
                tensors[f"{stem}.lora_{role}.weight"] = factor
            if layout != "original":
                tensors[f"{stem}.alpha"] = torch.tensor(float(block + 1))
    return tensors


@torch.no_grad()
@pytest.mark.parametrize("layout", ["original", "down", "kohya"])
def test_lora_of_original_names(layout, folder, tmp_path):
    """The same weights as by diffusers' load_lora_weights and fuse_lora, to the rounding of float32."""
    from diffusers import WanPipeline

    from g4v.export.checkpoint.video_lora import VideoLora

    file = tmp_path / "lora.safetensors"
    save_file(original_lora(layout), file)
    pipeline = WanPipeline.from_pretrained(folder)
    before = {name: weight.clone() for name, weight in pipeline.transformer.state_dict().items()}
    pipeline.load_lora_weights(file)
    pipeline.fuse_lora(lora_scale=0.5)
    pipeline.unload_lora_weights()
    wanted = pipeline.transformer.state_dict()
    overrides = Overrides(t2v=str(folder), video_loras=(VideoLora(file, 0.5),), **SMALL)
    found = Checkpoint.open(None, overrides).transformer().state_dict()
    changed = 0
    for name, weight in wanted.items():
        assert torch.allclose(found[name], weight, atol=1e-5), name
        changed += not torch.equal(weight, before[name])
    assert changed == 20
    save_file({**original_lora(layout), "diffusion_model.blocks.0.self_attn.q.diff_b": torch.ones(24)}, file)
    with pytest.raises(ExportError, match=r"unexpected tensor 'diffusion_model\.blocks\.0.*\.diff_b'"):
        Checkpoint.open(None, overrides)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("model_index.json", {"_class_name": "MochiPipeline"},
         "pipeline 'MochiPipeline' is not supported .one of TextToVideoSDPipeline, .*WanPipeline"),
        ("model_index.json", {"_class_name": "LTXPipeline"}, "is of LTXPipeline, but transformer/ is of Wan"),
        ("model_index.json", {"_class_name": "TextToVideoSDPipeline"}, "is of TextToVideoSDPipeline, but tr"),
        ("model_index.json", {"boundary_ratio": 0.9}, "boundary_ratio 0.9 is of Wan 2.2"),
        ("model_index.json", {"expand_timesteps": True}, "expand_timesteps True is of Wan 2.2"),
        ("model_index.json", {"transformer_2": ["diffusers", "WanTransformer3DModel"]}, "'transformer_2'"),
        ("transformer/config.json", {"image_dim": 1280}, "image_dim 1280 is not supported"),
        ("transformer/config.json", {"added_kv_proj_dim": 24}, "added_kv_proj_dim 24 is not supported"),
        ("transformer/config.json", {"pos_embed_seq_len": 514}, "pos_embed_seq_len 514 is not supported"),
        ("transformer/config.json", {"qk_norm": "layer_norm"}, "qk_norm 'layer_norm' is not supported"),
        ("transformer/config.json", {"in_channels": 8}, "in_channels and out_channels differ"),
        ("transformer/config.json", {"patch_size": [2, 2, 2]}, "only 1 along the frames"),
        ("transformer/config.json", {"patch_size": 2}, "a list of 3 positive integers"),
        ("transformer/config.json", {"attention_head_dim": 5}, "an even integer from 6 on"),
        ("transformer/config.json", {"window_size": [-1, -1]}, "unknown key 'window_size'"),
        ("transformer/config.json", {"_class_name": "LTXVideoTransformer3DModel"},
         "is of WanPipeline, but transformer/ is of LTXPipeline"),
        ("text_encoder/config.json", {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"},
         "is of the class CLIPTextModel, not T5EncoderModel"),
        ("vae/config.json", {"is_residual": True}, "is_residual True is not supported"),
        ("vae/config.json", {"patch_size": 2}, "patch_size 2 is not supported"),
        ("vae/config.json", {"scale_factor_spatial": 16}, "scale_factor_spatial is 16, but its lay"),
        ("vae/config.json", {"scale_factor_temporal": 8}, "scale_factor_temporal is 8"),
        ("vae/config.json", {"latents_std": [1.0, 0.0, 1.0, 1.0]}, "latents_std must have 4 numbers above 0"),
        ("vae/config.json", {"latents_mean": [0.0]}, "latents_mean must have 4 numbers, one for each"),
        ("vae/config.json", {"latents_mean": ...}, "latents_mean must have 4 numbers, one for each"),
        ("vae/config.json", {"temperal_downsample": [True]}, "one value less than dim_mult"),
        ("vae/config.json", {"_class_name": "AutoencoderKL"}, "AutoencoderKL, not AutoencoderKLWan"),
    ],
)  # fmt: skip
def test_refused_by_name(copied, file, changes, message):
    change_json(copied / file, **changes)
    with pytest.raises(ExportError, match=message):
        Checkpoint.open(None, Overrides(t2v=str(copied), **SMALL))


def test_both_networks_or_neither(copied):
    (copied / "unet").mkdir()
    (copied / "unet" / "config.json").write_text("{}", "utf-8")
    with pytest.raises(ExportError, match="has unet/ and transformer/"):
        Checkpoint.open(None, Overrides(t2v=str(copied)))
    shutil.rmtree(copied / "unet")
    shutil.rmtree(copied / "transformer")
    with pytest.raises(ExportError, match="no text-to-video pipeline"):
        Checkpoint.open(None, Overrides(t2v=str(copied)))


def test_every_tensor_is_used_or_refused(copied, tmp_path):
    file = copied / "vae" / "diffusion_pytorch_model.safetensors"
    whole = load_file(file)
    for name, change in (
        ("decoder.conv_in.weight", None),
        ("decoder.invented", torch.ones(1)),
        ("decoder.conv_in.bias", torch.ones(3)),
    ):
        tensors = {**whole, name: change}
        save_file({key: value for key, value in tensors.items() if value is not None}, file)
        with pytest.raises(ExportError, match=name):
            export_bundle(None, tmp_path / "b", overrides=Overrides(t2v=str(copied), **SMALL))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_size": (40, 32)}, "width and height must be multiples of 16, not 40x32"),
        ({"frames": 8}, "frames is 8 but must be 1 more than a multiple of 4, such as 5 or 9"),
        ({"video_to_video": True}, "makes videos of texts alone; leave --video-to-video out"),
    ],
)
def test_options_that_do_not_fit(folder, change, message):
    with pytest.raises(ExportError, match=message):
        Checkpoint.open(None, Overrides(t2v=str(folder), **{**SMALL, **change}))


def test_dry_run_and_info(folder, bundle, tmp_path, capsys):
    from g4v.export.__main__ import main

    options = ["--t2v", str(folder), "--frames", "5", "--video-size", "32x48"]
    assert main([*options, "--dry-run", "--out", str(tmp_path / "b")]) == 0
    told = capsys.readouterr().out
    assert "transformer" in told and "vae_decoder" in told and "video of 5 frames" in told
    assert not (tmp_path / "b").exists()
    assert cli.main(["inspect", str(bundle)]) == 0
    assert "transformer" in capsys.readouterr().out
