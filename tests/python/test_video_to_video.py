"""Videos from videos and pictures: the core against NumPy, files that are fitted, and what is refused."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import g4v
from g4v import _core, cli

from . import synthetic_bundle as toy
from .test_runtime_diffusion import with_video_settings
from .video_samples import gray_frames, write_video

POSTERIOR = 2**64 - 1  # stream of a seed's noise
SHAPE = (4, 3, 3, 4)  # latents of the bundle's videos: 3 frames of 8x6 pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editing") / "bundle"
    toy.write_bundle(folder, video_to_video=True)
    return folder


@pytest.fixture(scope="module")
def editing(folder):
    return g4v.load(folder, device="cpu", threads=1)


def a_video(frames=3, height=6, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def expected(vocabulary, caption, seed, video, first, steps=5, shared=0.0, noise=None):
    """The synthetic bundle's video that is made from another one, without guidance, computed with NumPy."""
    config = toy.manifest(0)["generation"]["video"]["scheduler"]
    scheduler = _core.testing.Scheduler(
        config["type"], steps, first, **{k: v for k, v in config.items() if k != "type"}
    )
    images = video.astype(np.float32) / np.float32(255) * np.float32(2) - np.float32(1)
    images = np.repeat(images, 3 // len(video), axis=0).transpose(3, 0, 1, 2)
    means = images.reshape(3, 3, 3, 2, 4, 2).mean((3, 5), dtype=np.float64)
    means = np.concatenate([means, means[:1]])
    drawn = _core.testing.noise(seed, means.size, POSTERIOR).reshape(SHAPE)
    image = (means + np.exp(-1) * drawn) * 2.0  # the scaling factor
    if noise is None:
        own, common = means.size, means.size // 3
        numbers = _core.testing.noise(seed, own + common).astype(np.float64)
        noise = np.sqrt(1 - shared) * numbers[:own].reshape(4, 3, -1)
        noise = noise + np.sqrt(shared) * numbers[own:].reshape(4, 1, -1)
    of_image, of_noise = scheduler.noise_at(first)
    latents = (of_image * image.reshape(-1) + of_noise * noise.reshape(-1)).astype(np.float32)
    ids = [toy.BOS, *vocabulary.encode(caption)[:22], toy.EOS]
    text = np.float32(np.mean(ids + [toy.PAD] * (24 - len(ids)), dtype=np.float32))
    for index, timestep in enumerate(scheduler.timesteps[first:], first):
        prediction = latents * np.float32(0.5) + text * np.float32(0.01)
        prediction = prediction + np.float32(timestep) * np.float32(0.001)
        latents = scheduler.step(index, prediction, latents)
    images = (latents.reshape(SHAPE) / np.float32(2.0))[:3].repeat(2, axis=2).repeat(2, axis=3)
    pixels = (np.clip(images, -1, 1) + np.float32(1)) * np.float32(127.5)
    return pixels.round().astype(np.uint8).transpose(1, 2, 3, 0)


OPTIONS = {"guidance_scale": 1.0, "seed": 99}


@pytest.mark.parametrize(("strength", "first"), [(0.2, 4), (0.5, 3), (None, 2), (0.9, 1), (1, 0)])
@pytest.mark.parametrize("count", [1, 3])
def test_equals_numpy(editing, bundle, strength, first, count):
    video, told = a_video(count), []
    made = editing.generate(
        "a red circle", video=video, strength=strength, on_progress=lambda *at: told.append(at), **OPTIONS
    )
    wanted = expected(bundle[1], "a red circle", 99, video, first)
    difference = np.abs(made.frames.astype(int) - wanted)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01
    assert told == [(step + 1, 5 - first) for step in range(5 - first)]
    again = editing.generate("a red circle", video=video, strength=strength, **OPTIONS)
    assert np.array_equal(again.frames, made.frames)


def test_shared_noise_and_given_noise(folder, bundle, tmp_path):
    mixed = with_video_settings(folder, tmp_path / "mixed", shared_noise=0.4)
    made = g4v.load(mixed, threads=1).generate("x", video=a_video(), **OPTIONS)
    wanted = expected(bundle[1], "x", 99, a_video(), 2, shared=0.4)
    assert np.abs(made.frames.astype(int) - wanted).max() <= 1
    noise = np.random.default_rng(4).standard_normal(SHAPE).astype(np.float32)
    made = g4v.load(folder, threads=1).generate("x", video=a_video(), latents=noise, **OPTIONS)
    wanted = expected(bundle[1], "x", 99, a_video(), 2, noise=noise)
    assert np.abs(made.frames.astype(int) - wanted).max() <= 1


def test_less_strength_keeps_more(editing):
    video = np.full((3, 6, 8, 3), 255, np.uint8)
    video[:, :, :4] = 0
    off = []
    for strength in (0.2, 0.6, 1.0):
        made = editing.generate("x", video=video, strength=strength, **OPTIONS)
        off.append(np.abs(made.frames.astype(int) - video).mean())
    assert off == sorted(off) and off[2] > 1.5 * off[0]


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_picture_of_another_size_is_resized_as_pillow_does(editing):
    picture = a_video(1, 30, 50, seed=3)[0]
    small = np.asarray(Image.fromarray(picture).resize((8, 6), Image.Resampling.LANCZOS))
    wanted = editing.generate("x", video=small, **OPTIONS).frames
    assert np.array_equal(editing.generate("x", video=png(picture), **OPTIONS).frames, wanted)
    assert np.array_equal(editing.generate("x", video=io.BytesIO(png(picture)), **OPTIONS).frames, wanted)
    assert np.array_equal(editing.generate("x", video=small[None], **OPTIONS).frames, wanted)


def test_a_video_that_was_made_is_resized_for_a_second_pass(editing):
    first = editing.generate("x", frames=3, width=16, height=4, seed=2)
    wanted = editing.generate("x", video=_core.resize_frames(first.frames, 6, 8), **OPTIONS).frames
    assert np.array_equal(editing.generate("x", video=first, **OPTIONS).frames, wanted)
    with pytest.raises(g4v.ArgumentError, match="video has 3 frames of 8x6 pixels but must have 2 frames"):
        editing.generate("x", video=first, frames=2, **OPTIONS)


def test_a_file_is_sampled_and_resized(editing, tmp_path):
    path = write_video(tmp_path / "clip.mp4", gray_frames(12))
    frames, info = g4v.video.read_video(path, 3)
    assert info.frame_count == 12
    wanted = editing.generate("x", video=_core.resize_frames(frames, 6, 8), **OPTIONS).frames
    assert np.array_equal(editing.generate("x", video=path, **OPTIONS).frames, wanted)
    wide = editing.generate("x", video=str(path), frames=2, width=16, height=4, **OPTIONS).frames
    assert wide.shape == (2, 4, 16, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0}, "strength is 0 but must be above 0 and at most 1"),
        ({"strength": 1.01}, "strength is 1.01 but must be above 0"),
        ({"strength": float("nan")}, "strength is nan but must be above 0"),
        ({"strength": "much"}, "strength is 'much'; it must be a number"),
        ({"strength": 0.19}, "strength is 0.19, which leaves none of 5 steps; use a larger one, or more"),
        ({"video": None, "strength": 0.5}, "strength is of a video that is made from another one"),
        (
            {"video": a_video(2)},
            "video has 2 frames of 8x6 pixels but must have 3 frames of 8x6 pixels, or one",
        ),
        ({"video": a_video(1, 8, 8)}, "video has 1 frame of 8x8 pixels but must have"),
        ({"frames": 2}, "video has 3 frames of 8x6 pixels but must have 2 frames of 8x6"),
        ({"width": 7}, "width is 7 but must be a multiple of 2"),
        ({"frames": 100_000}, "frames is 100000 but must be 1 to 1024"),
        ({"video": a_video().astype(float)}, r"video is an array of float64 with the shape \[3, 6, 8, 3\]"),
        ({"video": a_video()[..., :2]}, "it must be uint8"),
        ({"video": 5}, "a video is a path, bytes, a binary file or a uint8 array"),
    ],
)
def test_what_cannot_be_made_is_refused(editing, options, message):
    with pytest.raises(g4v.ArgumentError, match=message):
        editing.generate("x", **({"video": a_video()} | options))


def test_a_file_that_is_none_is_refused(editing, tmp_path):
    with pytest.raises(g4v.VideoError, match="no such file"):
        editing.generate("x", video=tmp_path / "clip.mp4")
    with pytest.raises(g4v.VideoError):
        editing.generate("x", video=b"no video")


def test_a_bundle_without_an_encoder_refuses_before_it_reads(bundle_dir, tmp_path):
    assistant = g4v.load(bundle_dir, threads=1)
    for video in (tmp_path / "missing.mp4", a_video()):
        with pytest.raises(g4v.BundleError, match="this bundle has no vae_encoder, .*--video-to-video"):
            assistant.generate("x", video=video)


def test_the_core_refuses_it_elsewhere(editing):
    options = _core.VideoOptions(video=a_video(), strength=0.5)
    assert np.array_equal(options.video, a_video()) and options.strength == 0.5
    with pytest.raises(g4v.ArgumentError, match="video is no option of a chat's videos; use generate"):
        editing._core.chat(video_options=options)
    chat = editing._core.chat()
    with pytest.raises(g4v.ArgumentError, match="strength is no option of a turn's videos"):
        list(chat.send("say b", video_options=_core.VideoOptions(strength=0.5)))
    with pytest.raises(g4v.ArgumentError, match="video must be a C-contiguous uint8 array"):
        _core.VideoOptions(video=a_video().astype(np.float32))
    with pytest.raises(g4v.ArgumentError, match="frames must be uint8"):
        _core.VideoOptions(video=np.zeros((0, 6, 8, 3), np.uint8))


def test_an_encoder_needs_its_decoder(tmp_path):
    toy.write_bundle(tmp_path / "bundle", without=("vae_decoder",), video_to_video=True)
    with pytest.raises(g4v.BundleError, match="have a vae_encoder but no vae_decoder"):
        g4v.load(tmp_path / "bundle")


def test_info_tells_of_the_encoder(editing, bundle_dir):
    assert editing.info["components"]["vae_encoder"]["provider"] == "cpu"
    assert "vae_encoder" not in g4v.load(bundle_dir, threads=1).info["components"]


def test_command(folder, bundle_dir, tmp_path, capsys):
    (tmp_path / "picture.png").write_bytes(png(a_video(1, 30, 50)[0]))
    words = ["generate", "x", "--bundle", str(folder), "--device", "cpu", "--threads", "1"]
    words += ["--out", str(tmp_path / "made.mp4"), "--video", str(tmp_path / "picture.png"), "--json"]
    assert cli.main([*words, "--strength", "0.4"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 3 and (tmp_path / "made.mp4").stat().st_size > 0
    assert cli.main([*words, "--strength", "2"]) == 2
    assert "strength is 2 but must be above 0 and at most 1" in capsys.readouterr().err
    words[words.index(str(folder))] = str(bundle_dir)
    assert cli.main(words) == 1
    assert "this bundle has no vae_encoder" in capsys.readouterr().err
