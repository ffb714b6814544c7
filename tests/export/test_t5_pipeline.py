"""Videos of a bundle whose UNet reads T5's states, against diffusers' own pipeline, from the same latents."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch

import g4v
from g4v.export.bundle.export import export_bundle
from g4v.export.checkpoint.run import Checkpoint

from ..t5_models import make_encoder, write_tokenizer

LENGTH = 24
CAPTION = "a red circle moving left on black, two blue squares \u6771\u4eac"
NEGATIVE = "blurred"


def t5_run(run, folder, kind, layout, masked, **options):
    """A copy of a random run whose text encoder is a T5 of the width that its UNet reads."""
    shutil.copytree(run, folder)
    t2v = folder / "t2v"
    shutil.rmtree(t2v / "tokenizer")
    shutil.rmtree(t2v / "text_encoder")
    tokenizer = write_tokenizer(t2v / "tokenizer", layout, LENGTH, **options)
    width = json.loads((t2v / "unet" / "config.json").read_text("utf-8"))["cross_attention_dim"]
    encoder = make_encoder(kind, vocab_size=len(tokenizer), d_model=width)
    encoder.save_pretrained(t2v / "text_encoder")
    if masked:
        path = t2v / "text_encoder" / "config.json"
        path.write_text(
            json.dumps(json.loads(path.read_text("utf-8")) | {"use_attention_mask": True}), "utf-8"
        )
    return folder, tokenizer


@pytest.mark.parametrize(
    ("kind", "layout", "masked"),
    [("t5", "spiece.model", False), ("umt5", "tokenizer.json", True)],
)
def test_videos_are_those_of_diffusers(run, tmp_path, kind, layout, masked):
    folder, tokenizer = t5_run(run, tmp_path / "run", kind, layout, masked)
    out = tmp_path / "bundle"
    export_bundle(folder, out, only=["text_encoder", "unet", "vae_decoder"])
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    spec = manifest["components"]["text_encoder"]
    assert spec["max_length"] == LENGTH and spec.get("attention_mask", False) is masked

    checkpoint = Checkpoint.open(folder)
    encoder = checkpoint.text_encoder().float()
    if masked:
        encoder.config.use_attention_mask = True
    pipeline = diffusers.TextToVideoSDPipeline(
        vae=checkpoint.vae().float(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=checkpoint.unet().float(),
        scheduler=diffusers.DDIMScheduler.from_pretrained(folder / "t2v" / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    latents = np.random.default_rng(3).standard_normal((4, 3, 8, 8)).astype(np.float32)

    def theirs(**texts):
        made = pipeline(
            **texts, height=32, width=32, num_frames=3, num_inference_steps=3, guidance_scale=5.0,
            latents=torch.from_numpy(latents)[None].clone(), output_type="np",
        ).frames[0]  # fmt: skip
        return np.round(np.asarray(made) * 255).astype(np.uint8)

    wanted = theirs(prompt=CAPTION, negative_prompt=NEGATIVE)
    options = {"steps": 3, "guidance_scale": 5.0, "negative_prompt": NEGATIVE, "latents": latents}

    def video(bundle, caption=CAPTION):
        assistant = g4v.load(bundle, device="cpu", threads=1)
        return assistant.generate(caption, frames=3, width=32, height=32, scheduler="ddim", **options).frames

    frames = video(out)
    assert np.abs(frames.astype(int) - wanted).max() <= 1
    assert np.abs(video(out, "a blue square").astype(int) - wanted).max() > 1, "the caption counts"

    # Loaded for each video, it gives the same.
    spec["load"] = "per_video"
    (out / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    assert np.array_equal(video(out), frames)

    # With the padding's states set to zero, as Wan's pipeline sets them.
    def zeroed(text):
        given = tokenizer(text, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        mask = given.attention_mask
        with torch.no_grad():
            states = encoder(given.input_ids, attention_mask=mask if masked else None).last_hidden_state
        return states * mask[..., None]

    spec["zero_padding"] = True
    (out / "g4v.json").write_text(json.dumps(manifest), "utf-8")
    wanted = theirs(prompt_embeds=zeroed(CAPTION), negative_prompt_embeds=zeroed(NEGATIVE))
    changed = video(out)
    assert np.abs(changed.astype(int) - wanted).max() <= 1 < np.abs(changed.astype(int) - frames).max()


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_text_encoders_in_int8(run, tmp_path, kind):
    folder = run if kind == "clip" else t5_run(run, tmp_path / "run", kind, "tokenizer.json", False)[0]
    parts = ["text_encoder", "unet", "vae_decoder"]
    out = tmp_path / "bundle"
    export_bundle(folder, out, only=parts, precision=["text_encoder=int8"])
    manifest = json.loads((out / "g4v.json").read_text("utf-8"))
    assert [one["precision"] for one in manifest["components"]["text_encoder"]["variants"]] == ["int8"]
    assert 1e-5 < float(manifest["provenance"]["relative_errors"]["text_encoder"]) < 0.1
    frames = g4v.load(out, device="cpu", threads=1).generate(CAPTION, frames=2, width=32, height=32).frames
    assert frames.shape == (2, 32, 32, 3) and frames.std() > 1
