"""Pictures of videos that are being made, and frames that come as they are decoded."""

import json
import shutil
import time

import numpy as np
import pytest

import g4v
from g4v import _core
from g4v._runtime import onnxruntime_directories

from . import causal_bundle
from .talking import ask, load, names, only
from .test_runtime_diffusion import CONFIG, latents_of

PLAIN = {"frames": 3, "width": 8, "height": 6, "steps": 5, "guidance_scale": 1.0}
SAMPLERS = [
    *(
        (name, kind)
        for name in ("ddim", "dpmsolver++", "unipc", "lcm")
        for kind in ("epsilon", "v_prediction")
    ),
    *(("euler", kind) for kind in ("epsilon", "v_prediction", "sample")),
    ("euler_ancestral", "v_prediction"),
    ("sde-dpmsolver++", "sample"),
    ("unipc", "flow_prediction"),
    ("flow_match_euler", "flow_prediction"),
]


def checked(folder, checker):
    return _core.Assistant.load(
        str(folder), library_dirs=onnxruntime_directories(), threads=1, frame_checker=checker
    )


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal") / "bundle"
    causal_bundle.write_bundle(folder)
    return folder


@pytest.mark.parametrize(("name", "kind"), SAMPLERS)
def test_the_clean_image_of_a_sample_of_known_image_and_noise(name, kind):
    """What a perfect model would say of image and noise, in float64, leads back to the image."""
    config = {"prediction_type": kind}
    if kind != "flow_prediction":
        config |= CONFIG | {"prediction_type": kind, "timestep_spacing": "trailing"}
        config["steps_offset"] = 0
    steps = 6
    scheduler = _core.testing.Scheduler(name, steps, **config)
    random = np.random.default_rng()
    for index in range(steps):
        image, noise = random.standard_normal((2, 500))
        a, b = scheduler.noise_at(index)
        sample, scale = a * image + b * noise, scheduler.input_scale(index)
        alpha, sigma = a * scale, b * scale
        said = {
            "epsilon": noise,
            "v_prediction": alpha * noise - sigma * image,
            "sample": image,
            "flow_prediction": noise - image,
        }[kind]
        found = scheduler.clean(index, said.astype(np.float32), sample.astype(np.float32))
        # Numbers of float32 go in: an epsilon's error counts sigma / alpha times.
        bound = 4e-7 * (1 + max(1.0, b / max(a, 1e-9)) * 6 + abs(a) + abs(b))
        assert np.abs(found - image).max() <= bound, index


def test_the_clean_image_is_that_of_diffusers():
    import torch
    from diffusers import DDIMScheduler, EulerDiscreteScheduler

    random = np.random.default_rng()
    known = {k: v for k, v in CONFIG.items() if k not in ("set_alpha_to_one", "clip_sample")}
    for name, theirs in (
        ("ddim", DDIMScheduler(**CONFIG)),
        ("euler", EulerDiscreteScheduler(**known)),
    ):
        ours = _core.testing.Scheduler(name, 7, **CONFIG)
        theirs.set_timesteps(7)
        for index, timestep in enumerate(theirs.timesteps):
            sample, said = random.standard_normal((2, 300)).astype(np.float32)
            sample *= np.float32(ours.init_noise_sigma)
            theirs.scale_model_input(torch.from_numpy(sample), timestep)
            wanted = theirs.step(torch.from_numpy(said), timestep, torch.from_numpy(sample))
            wanted = wanted.pred_original_sample.numpy()
            found = ours.clean(index, said, sample)
            assert np.abs(found - wanted).max() <= 2e-6 * np.abs(wanted).max(), (name, index)


def expected_previews(vocabulary, seed, spec):
    """Pictures of the synthetic bundle without guidance, [steps, H, W, 3] in float64 before rounding."""
    from . import synthetic_bundle as toy

    ids = [toy.BOS, *vocabulary.encode("a red circle")[:22], toy.EOS]
    text = np.mean(ids + [toy.PAD] * (24 - len(ids)))
    config = toy.manifest(0)["generation"]["video"]["scheduler"]
    scheduler = _core.testing.Scheduler(
        config["type"], spec["steps"], **{k: v for k, v in config.items() if k != "type"}
    )
    latents = latents_of(seed, spec["frames"], spec["height"], spec["width"])
    pictures = []
    for index, timestep in enumerate(scheduler.timesteps):
        prediction = latents * 0.5 + text * 0.01 + timestep * 0.001
        a, b = scheduler.noise_at(index)
        assert config["prediction_type"] == "v_prediction"
        clean = np.clip(a * latents.astype(np.float64) - b * prediction, -8, 8)
        pictures.append(clean[:3, spec["frames"] // 2].transpose(1, 2, 0) / 2)
        latents = scheduler.step(
            index, prediction.astype(np.float32).reshape(-1), latents.reshape(-1)
        ).reshape(latents.shape)
    return np.stack(pictures)


def as_pixels(values):
    """Latents doubled in height and width, as float64 pixels from 0 to 255."""
    large = values.repeat(2, axis=-3).repeat(2, axis=-2)
    return (np.clip(large, -1, 1) + 1) * 127.5


def test_a_picture_is_the_middle_frame_of_the_clean_latents(assistant, bundle):
    options = _core.VideoOptions(seed=4, preview_every=1, **PLAIN)
    events = list(assistant.generate("a red circle", options))
    shown = [e.preview for e in only(events, _core.ProgressEvent)]
    assert all(p.shape == (1, 6, 8, 3) and p.dtype == np.uint8 and not p.flags.writeable for p in shown)
    wanted = as_pixels(expected_previews(bundle[1], 4, PLAIN))
    difference = np.abs(np.concatenate(shown) - wanted)
    assert difference.max() < 0.52 and wanted.std() > 20


def test_large_pictures_are_means_of_latents(assistant, bundle):
    spec = PLAIN | {"width": 640, "height": 480, "steps": 2, "frames": 1}
    events = list(assistant.generate("a red circle", _core.VideoOptions(seed=5, preview_every=2, **spec)))
    first, last = (e.preview for e in only(events, _core.ProgressEvent))
    assert first is None and last.shape == (1, 96, 128, 3)
    clean = expected_previews(bundle[1], 5, spec)[1]
    pooled = clean.reshape(48, 5, 64, 5, 3).mean(axis=(1, 3))
    difference = np.abs(last[0] - as_pixels(pooled))
    assert difference.max() < 0.52


@pytest.mark.parametrize(("width", "height"), [(258, 2), (300, 130), (4, 514)])
def test_sizes_that_do_not_divide(assistant, bundle, width, height):
    spec = PLAIN | {"width": width, "height": height, "steps": 1, "frames": 1}
    events = list(assistant.generate("a red circle", _core.VideoOptions(seed=6, preview_every=1, **spec)))
    picture = only(events, _core.ProgressEvent)[0].preview[0]
    clean = expected_previews(bundle[1], 6, spec)[0]
    high, wide = clean.shape[:2]
    longest = max(high, wide)
    rows, columns = (max(1, size * 64 // longest) for size in (high, wide))

    def parts(size, count):
        return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]

    pooled = np.array(
        [[clean[y, x].mean(axis=(0, 1)) for x in parts(wide, columns)] for y in parts(high, rows)]
    )
    wanted = as_pixels(pooled)
    assert picture.shape == wanted.shape and max(picture.shape) == 128
    assert np.abs(picture - wanted).max() < 0.52


def test_outside_of_an_engines_sizes_the_pixels_are_reduced(bundle_dir, bundle, tmp_path):
    """A VAE that is built for the size of the video decodes the picture in that size."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundle_dir, folder)
    about = json.loads((folder / "g4v.json").read_text())
    about["components"]["vae_decoder"]["variants"][0]["profile"] = {
        "latent_height": [120, 120, 120],
        "latent_width": [160, 160, 160],
    }
    (folder / "g4v.json").write_text(json.dumps(about))
    spec = PLAIN | {"width": 320, "height": 240, "steps": 1, "frames": 1}
    options = _core.VideoOptions(seed=7, preview_every=1, **spec)
    (event,) = only(list(load(folder).generate("a red circle", options)), _core.ProgressEvent)
    whole = np.rint(as_pixels(expected_previews(bundle[1], 7, spec)[0])).astype(np.uint8)
    wanted = _core.testing.resize(whole, 96, 128)
    assert event.preview.shape == (1, 96, 128, 3)
    assert np.abs(event.preview[0].astype(int) - wanted).max() <= 1


def test_a_causal_vae_shows_its_latent_frame_as_a_first_chunk(causal):
    latents = np.random.default_rng(1).standard_normal((4, 3, 3, 4)).astype(np.float32)
    latents[3] = -10
    options = _core.VideoOptions(
        frames=5, latents=latents, guidance_scale=1.0, steps=2, height=6, width=8, preview_every=1
    )
    events = list(load(causal).generate("a", options))
    mean, std = (np.array(v).reshape(4, 1, 1) for v in (causal_bundle.MEAN, causal_bundle.STD))
    middle = (latents[:, 1] * std / causal_bundle.SCALING + mean)[:3].transpose(1, 2, 0)
    wanted = as_pixels(middle)
    for event in only(events, _core.ProgressEvent):
        assert np.abs(event.preview[0] - wanted).max() < 0.52


@pytest.mark.parametrize("every", [1, 2, 3, 6])
def test_videos_are_the_same_and_pictures_as_rare_as_asked(assistant, every):
    plain = only(list(assistant.generate("x", _core.VideoOptions(seed=3))), _core.VideoEvent)[0]
    options = _core.VideoOptions(seed=3, preview_every=every, stream_frames=True)
    events = list(assistant.generate("x", options))
    assert np.array_equal(only(events, _core.VideoEvent)[0].frames, plain.frames)
    steps = only(events, _core.ProgressEvent)
    assert [e.step for e in steps if e.preview is not None] == [s for s in range(1, 6) if s % every == 0]


def test_videos_of_tiny_are_the_same_with_every_sampler():
    assistant = g4v.load("tiny", threads=1)
    for scheduler in assistant.info["video"]["schedulers"]:
        shown, groups = [], []
        options = {"seed": 5, "steps": 3, "frames": 3, "scheduler": scheduler}
        plain = assistant.generate("a red circle", **options)
        watched = assistant.generate(
            "a red circle",
            on_preview=lambda picture, step, steps, shown=shown: shown.append((step, steps, picture)),
            on_frames=groups.append,
            **options,
        )
        assert np.array_equal(plain.frames, watched.frames), scheduler
        assert [(step, steps) for step, steps, _ in shown] == [(1, 3), (2, 3), (3, 3)]
        assert shown[0][2].shape == (64, 64, 3) and not np.array_equal(shown[0][2], shown[2][2])
        assert np.array_equal(np.concatenate([g.frames for g in groups]), plain.frames)


def test_a_checker_sees_each_picture_first_and_one_that_it_refuses_ends_the_video(bundle_dir):
    seen = []

    def check(frames):
        seen.append(frames.copy())
        return [1.0 if len(seen) == 3 else 0.0] * len(frames)

    assistant = checked(bundle_dir, check)
    events = []
    with pytest.raises(g4v.UnsafeVideo, match="a picture of it looks unsafe"):
        for event in assistant.generate("x", _core.VideoOptions(seed=3, preview_every=1)):
            events.append(event)
    assert names(events) == ["Progress", "Progress", "Withheld"]
    assert [e.preview.tobytes() for e in events[:2]] == [f.tobytes() for f in seen[:2]]
    assert (events[2].unsafe, events[2].frames) == (1, 1) and len(seen) == 3

    seen.clear()
    chat = assistant.chat(seed=0)
    events = ask(chat, "say b", video_options=_core.VideoOptions(preview_every=1))
    kinds = [(type(e).__name__, e.index) for e in events if hasattr(e, "caption")]
    assert ("WithheldEvent", 0) in kinds and ("VideoEvent", 1) in kinds and names(events)[-1] == "Done"
    assert ("VideoEvent", 0) not in kinds


def test_a_checker_that_fails_on_a_picture_shows_nothing(bundle_dir):
    def check(frames):
        raise ValueError("no")

    events = []
    with pytest.raises(g4v.Error, match="the frame checker failed: ValueError: no"):
        for event in checked(bundle_dir, check).generate("x", _core.VideoOptions(preview_every=1)):
            events.append(event)
    assert events == []


def stream_of(assistant, **changes):
    latents = np.random.default_rng(2).standard_normal((4, 3, 3, 4)).astype(np.float32)
    latents[3] = -10
    options = {"frames": 5, "latents": latents, "guidance_scale": 1.0, "steps": 1, "height": 6, "width": 8}
    return assistant.generate("a", _core.VideoOptions(stream_frames=True, **(options | changes)))


def test_frames_come_in_the_chunks_of_a_causal_vae(causal):
    events = list(stream_of(load(causal)))
    assert names(events) == ["Progress", *["VideoFrames"] * 3, "Video", "Done"]
    groups = only(events, _core.VideoFramesEvent)
    assert [(g.index, g.first, len(g.frames), g.total, g.fps) for g in groups] == [
        (0, 0, 1, 5, 8.0),
        (0, 1, 2, 5, 8.0),
        (0, 3, 2, 5, 8.0),
    ]
    (video,) = only(events, _core.VideoEvent)
    assert np.array_equal(np.concatenate([g.frames for g in groups]), video.frames)
    assert not groups[0].frames.flags.writeable


def test_frames_come_in_the_pieces_of_a_vae_of_frames(assistant):
    options = _core.VideoOptions(frames=3, width=512, height=512, steps=1, stream_frames=True)
    events = list(assistant.generate("x", options))
    groups = only(events, _core.VideoFramesEvent)
    assert [(g.first, len(g.frames)) for g in groups] == [(0, 1), (1, 1), (2, 1)]
    (video,) = only(events, _core.VideoEvent)
    assert np.array_equal(np.concatenate([g.frames for g in groups]), video.frames)


def test_a_checker_sees_each_group_before_it_is_handed_on_and_then_the_whole(causal):
    seen = []

    def check(frames):
        seen.append(frames.copy())
        return [0.0] * len(frames)

    groups = []
    for event in stream_of(checked(causal, check)):
        if isinstance(event, _core.VideoFramesEvent):
            groups.append(event.frames)
            assert len(seen) >= len(groups)
    assert [len(frames) for frames in seen] == [1, 2, 2, 5]
    assert all(np.array_equal(a, b) for a, b in zip(seen, groups, strict=False))


@pytest.mark.parametrize(
    ("scores", "handed_on", "message"),
    [
        ([[1.0]], 0, "a picture of it looks unsafe"),
        ([[0.0], [1.0, 0.0]], 1, "1 of its 2 frames look unsafe"),
        ([[0.0], [0.0, 0.0], [0.0, 0.0], [1, 1, 1, 0, 0]], 3, "3 of its 5 frames look unsafe"),
    ],
)
def test_a_group_that_is_refused_is_not_handed_on(causal, scores, handed_on, message):
    calls = iter(scores)
    events = []
    with pytest.raises(g4v.UnsafeVideo, match=message):
        for event in stream_of(checked(causal, lambda frames: next(calls))):
            events.append(event)
    assert names(events) == ["Progress", *["VideoFrames"] * handed_on, "Withheld"]


def test_a_cancel_between_two_groups(causal):
    latents = np.zeros((4, 39, 3, 4), np.float32)
    latents[3] = 4e4  # trips of a loop in every chunk
    stream = stream_of(load(causal), latents=latents, frames=77)
    for event in stream:
        if isinstance(event, _core.VideoFramesEvent) and event.first > 0:
            break
    began = time.monotonic()
    stream.cancel()
    with pytest.raises(g4v.Cancelled):
        list(stream)
    assert time.monotonic() - began < 10


def test_python_hands_them_on(causal, bundle_dir):
    assistant = g4v.load(bundle_dir, threads=1)
    chat = assistant.chat(seed=0, preview_every=2, stream_frames=True)
    events = list(chat.send("say b"))
    shown = [e for e in events if isinstance(e, g4v.Progress) and e.preview is not None]
    assert shown and shown[0].step == 2 and shown[0].preview.shape == (6, 8, 3)
    groups = [e for e in events if isinstance(e, g4v.VideoFrames)]
    videos = [e for e in events if isinstance(e, g4v.Video)]
    assert [g.index for g in groups] == [0, 1]
    assert all(np.array_equal(g.frames, v.frames) for g, v in zip(groups, videos, strict=True))
    assert g4v.events.to_json(shown[0]) == {
        "event": "progress", "index": shown[0].index, "step": 2, "steps": shown[0].steps,
        "preview": {"height": 6, "width": 8},
    }  # fmt: skip
    assert g4v.events.to_json(groups[0]) == {
        "event": "video_frames", "index": 0, "first": 0, "total": 3, "fps": 8.0,
        "frames": 3, "height": 6, "width": 8,
    }  # fmt: skip
    assert shown[0] == g4v.Progress(shown[0].index, 2, shown[0].steps)  # pictures are not compared
    assert not any(
        isinstance(e, g4v.VideoFrames) or getattr(e, "preview", None) is not None
        for e in chat.send("say b", preview_every=0, stream_frames=False)
    )

    def stop(*_):
        raise KeyboardInterrupt

    for name in ("on_preview", "on_frames"):
        with pytest.raises(KeyboardInterrupt):
            assistant.generate("x", **{name: stop})
    assert assistant.generate("x").frames.shape == (3, 6, 8, 3)


def test_refusals(bundle_dir, assistant):
    loaded = g4v.load(bundle_dir, threads=1)
    for options, message in (
        ({"preview_every": 1}, "preview_every is for on_preview"),
        ({"on_preview": 3}, "on_preview must be callable, not int"),
        ({"on_frames": "x"}, "on_frames must be callable, not str"),
        ({"on_preview": print, "preview_every": -1}, "preview_every is -1 but must be 0 to 1048576"),
        ({"on_preview": print, "preview_every": 1.5}, "preview_every is 1.5; it must be an integer"),
    ):
        with pytest.raises(g4v.ArgumentError, match=message):
            loaded.generate("x", **options)
    with pytest.raises(g4v.ArgumentError, match="stream_frames is 1; it must be True or False"):
        loaded.chat(stream_frames=1)
    with pytest.raises(g4v.ArgumentError, match="preview_every is 1048577 but must be 0 to 1048576"):
        list(loaded.chat().send("say a", preview_every=1048577))

    def made(job):
        return np.zeros((2, 4, 4, 3), np.uint8), 8.0

    other = g4v.load(bundle_dir, threads=1, generator=made)
    assert other.generate("x").frames.shape == (2, 4, 4, 3)
    for name in ("on_preview", "on_frames"):
        with pytest.raises(g4v.ArgumentError, match=f"{name} is of the bundle's own generator"):
            other.generate("x", **{name: print})
    for name, value in (("preview_every", 1), ("stream_frames", True)):
        with pytest.raises(g4v.ArgumentError, match=f"{name} is an option of the bundle's own generator"):
            other.chat(**{name: value})
