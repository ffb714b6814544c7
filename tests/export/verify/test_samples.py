"""Real inputs of the components: made as the runtime makes them, the same each time, and never without a word
where numbers stand in for them.
"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from g4v.export.__main__ import main as export
from g4v.export.checkpoint.run import Checkpoint
from g4v.export.components import precision
from g4v.export.components.vae import export_vae_encoder
from g4v.export.errors import ExportError
from g4v.export.verify.samples import Samples

# Of a run with a UNet; one with a transformer is in test_wan.py.
COMPONENTS = tuple(name for name in precision.COMPONENTS if name != "transformer")


@pytest.fixture(scope="module")
def samples(run):
    return Samples(Checkpoint.open(run))


def video(path, frames=12, width=64, height=48):
    av = pytest.importorskip("av")
    rng = np.random.default_rng(3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", 8)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in rng.integers(0, 256, (frames, 6, 8, 3), np.uint8):
            image = np.ascontiguousarray(image.repeat(8, 0).repeat(8, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    return path


def same(one, other):
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
        for a, b in zip(one, other, strict=True)
    )


def test_every_graph_of_a_bundle_takes_them(run, samples, bundle, tmp_path):
    import onnxruntime

    from g4v.export.verify.session import open_for_comparison

    export_vae_encoder(Checkpoint.open(run).vae(), tmp_path)  # no bundle has it unasked
    for name in COMPONENTS:
        feeds = samples.feeds(name)
        assert samples.inputs(name) == "real"
        if name == "decoder":
            assert feeds == []
            continue
        folder = tmp_path if name == "vae_encoder" else bundle
        session = open_for_comparison(folder, "abstractor_memory" if name == "abstractor" else name)
        assert isinstance(session, onnxruntime.InferenceSession) and len(feeds) >= 2
        for feed in feeds:
            (result,) = session.run(None, feed)
            assert np.isfinite(result).all() and result.any()
            assert all(value.flags.c_contiguous for value in feed.values())


def test_both_paths_of_the_encoder_are_reached_first(samples):
    for name, key in (("encoder", "pixel_values"), ("abstractor", "features")):
        frames = [len(feed[key]) for feed in samples.feeds(name)]
        assert frames[:2] == [8, 1] and set(frames[2:]) == {8}


def test_values_are_those_of_the_run(samples, run):
    checkpoint = Checkpoint.open(run)
    pixels = samples.feeds("encoder")[0]["pixel_values"]
    with torch.no_grad():
        features = checkpoint.encoder()(torch.from_numpy(pixels))
    assert np.array_equal(features.numpy(), samples.feeds("abstractor")[0]["features"])
    first, last, *between = samples.feeds("unet")
    steps = [int(feed["timestep"][0]) for feed in (first, *between, last)]
    assert steps == sorted(steps, reverse=True) and len(set(steps)) >= 4  # of a run of 4 steps
    for feed in (first, last):
        assert np.array_equal(feed["sample"][0], feed["sample"][1])
        assert not np.array_equal(feed["encoder_hidden_states"][0], feed["encoder_hidden_states"][1])
    ids = samples.feeds("text_encoder")[0]["input_ids"]
    assert ids.shape == (2, 16) and (ids[:, 0] == 1).all() and (ids == 2).any()
    # What the VAE decodes is what the UNet makes, divided by the scaling factor.
    factor = checkpoint.vae().config.scaling_factor
    latents = samples.feeds("vae_decoder")[0]["latents"]
    with torch.no_grad():
        image = checkpoint.vae().float().decode(torch.from_numpy(latents)).sample
    assert factor < 1 and image.shape == (8, 3, 32, 32)


def test_they_are_the_same_each_time_in_any_order(samples, run):
    again = Samples(Checkpoint.open(run))
    for name in reversed(COMPONENTS):
        assert same(samples.feeds(name), again.feeds(name)), name
    assert again.about == samples.about == {**samples.about, "drawn_by": "g4v.data.shapes"}


def test_videos_take_the_place_of_drawn_clips(run, samples, tmp_path):
    from g4v._runtime import import_core
    from g4v.video import read_video

    path = video(tmp_path / "clip.mp4")
    found = Samples(Checkpoint.open(run), [path])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.about["videos"] == [{"file": "clip.mp4", "sha256": digest}]
    mean, std = Checkpoint.open(run).image_statistics()
    pixels = import_core().preprocess(read_video(path, 8)[0], 32, mean, std)
    feeds = found.feeds("encoder")
    assert np.array_equal(feeds[0]["pixel_values"], pixels)
    assert np.array_equal(feeds[1]["pixel_values"], pixels[:1])
    assert not same(found.feeds("unet"), samples.feeds("unet"))


def test_bad_videos_are_named(run, tmp_path):
    checkpoint = Checkpoint.open(run)
    with pytest.raises(ExportError, match=r"none\.mp4: no such file \(--calibration-video takes"):
        Samples(checkpoint, [tmp_path / "none.mp4"])
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film at all")
    for path, reason in ((bad, r"bad\.mp4 cannot be opened as a video"), (tmp_path, "is a directory")):
        with pytest.raises(ExportError, match=reason):
            Samples(checkpoint, [path])  # before any work


def test_what_the_run_lacks_is_random_and_said(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "t2v" / "tokenizer")
    (weights,) = (copy / "t2v" / "vae").glob("*.safetensors")
    save_file({k: v for k, v in load_file(weights).items() if not k.startswith("encoder.")}, weights)
    samples = Samples(Checkpoint.open(copy))
    feeds = samples.feeds("unet")
    assert "random token ids" in samples.inputs("text_encoder")
    assert "random token ids" in samples.inputs("unet") and "no VAE encoder" in samples.inputs("unet")
    assert samples.inputs("encoder") == "real"
    (decoded,) = {samples.inputs("vae_decoder")}
    assert decoded.startswith("random latents (the run has no VAE encoder")
    factor = Checkpoint.open(run).vae().config.scaling_factor
    deviation = samples.feeds("vae_decoder")[0]["latents"].std()
    assert deviation == pytest.approx(1 / factor, rel=0.05)
    shutil.rmtree(copy / "t2v" / "text_encoder")
    (copy / "t2v" / "text_encoder").mkdir()
    shutil.copy(Path(run) / "t2v" / "text_encoder" / "config.json", copy / "t2v" / "text_encoder")
    samples = Samples(Checkpoint.open(copy))
    assert "random text states" in samples.inputs("unet")
    assert [f["sample"].shape for f in samples.feeds("unet")] == [f["sample"].shape for f in feeds]


@pytest.mark.slow
def test_a_bundle_is_verified_on_the_samples_of_its_export(run, tmp_path, capsys):
    from g4v.cli import main

    one, other = video(tmp_path / "one.mp4"), video(tmp_path / "other.mp4", frames=9)
    out = tmp_path / "out"
    command = ["--checkpoint", str(run), "--out", str(out), "--component", "encoder", "--quiet"]
    assert export([*command, "--calibration-video", str(one)]) == 0
    verify = ["verify", str(out), "--checkpoint", str(run)]
    assert main([*verify, "--calibration-video", str(one)]) == 0
    printed = capsys.readouterr().out
    (part,) = json.loads((out / "report.json").read_text("utf-8"))["components"]
    assert (
        f"encoder: relative error {part['relative_error']:.1e} ({part['real_error']:.1e} on real" in printed
    )
    for words in ([], ["--calibration-video", str(other)]):
        assert main([*verify, *words]) == 1
        assert (
            "encoder was compared on one.mp4: name the same with --calibration-video"
            in capsys.readouterr().err
        )
    assert main(["verify", str(out), "--calibration-video", str(one)]) == 2
    assert "name the run too, with --base" in capsys.readouterr().err
    # The other components may have seen other videos, or drawn clips.
    command[command.index("encoder")] = "unet"
    assert export([*command, "--force"]) == 0
    samples = json.loads((out / "g4v.json").read_text("utf-8"))["provenance"]["samples"]
    assert "videos" in samples["encoder"] and samples["unet"]["clips"] == 4
    capsys.readouterr()
    assert main([*verify, "--calibration-video", str(one)]) == 0
    assert capsys.readouterr().out.count("on real inputs") == 2
    assert export([*command, "--force", "--calibration-video", str(tmp_path / "no.mp4")]) == 1
    assert "no.mp4: no such file" in capsys.readouterr().err
