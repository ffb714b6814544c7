"""A host's own generator in place of the bundle's, as the core knows it: on the synthetic bundle."""

import gc
import json
import threading
import time
import weakref

import numpy as np
import pytest

import g4v
from g4v import _core
from g4v._runtime import onnxruntime_directories

from . import synthetic_bundle as toy
from .talking import ask, names, only, text_of

NO_VIDEOS = ("text_encoder", "unet", "vae_decoder")


def load(folder, generator, **options):
    return _core.Assistant.load(
        str(folder), library_dirs=onnxruntime_directories(), threads=1, generator=generator, **options
    )


def frames(level=10, count=2):
    return np.full((count, 4, 6, 3), level, np.uint8)


def made(job):
    job.progress(1, 2)
    return frames(len(job.caption)), 12.5


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bundle that makes no videos by itself."""
    folder = tmp_path_factory.mktemp("bare") / "bundle"
    toy.write_bundle(folder, without=NO_VIDEOS)
    return folder


@pytest.mark.parametrize("which", ["bare", "bundle_dir"])
def test_videos_are_the_generators(which, request):
    """Whether or not the bundle has components of its own, which are not loaded then."""
    jobs = []

    def generate(job):
        jobs.append((job.caption, job.seed, job.frames, job.steps, job.guidance_scale, job.negative_prompt))
        return made(job)

    assistant = load(request.getfixturevalue(which), generate)
    info = json.loads(assistant.info())
    assert info["generator"] == "host" and "video" not in info
    assert not set(NO_VIDEOS) & set(info["components"]) and "decoder" in info["components"]
    options = _core.VideoOptions(steps=7, guidance_scale=2.5, negative_prompt="blur")
    events = ask(assistant.chat(seed=3), "say b", video_options=options)
    assert text_of(events) == "One:  and two:  done." and names(events)[-1] == "Done"
    assert [(e.index, e.step, e.steps) for e in only(events, _core.ProgressEvent)] == [(0, 1, 2), (1, 1, 2)]
    videos = {e.index: e for e in only(events, _core.VideoEvent)}
    assert [(videos[i].caption, videos[i].fps, videos[i].seed) for i in (0, 1)] == [
        ("a red circle", 12.5, 3 * 1000003),
        ("blue", 12.5, 3 * 1000003 + 1),
    ]
    np.testing.assert_array_equal(videos[0].frames, frames(12))
    np.testing.assert_array_equal(videos[1].frames, frames(4))
    assert sorted(jobs) == [
        ("a red circle", 3 * 1000003, None, 7, 2.5, "blur"),
        ("blue", 3 * 1000003 + 1, None, 7, 2.5, "blur"),
    ]
    (video,) = only(list(assistant.generate("a star", _core.VideoOptions(seed=5))), _core.VideoEvent)
    assert video.seed == 5 and video.frames.shape == (2, 4, 6, 3)


def raising(error):
    def generate(job):
        raise error

    return generate


@pytest.mark.parametrize(
    ("generate", "kind", "part"),
    [
        (raising(g4v.GeneratorError("the server is away")), g4v.GeneratorError, "^the server is away$"),
        (raising(g4v.VideoError("no frames")), g4v.VideoError, "^no frames$"),
        (raising(g4v.Cancelled("not by us")), g4v.Cancelled, "not by us"),
        (raising(ValueError("x\ny")), g4v.GeneratorError, "the generator failed: ValueError: x"),
        (lambda job: None, g4v.GeneratorError, "must return frames"),
        (lambda job: (frames(),), g4v.GeneratorError, "must return frames"),
        (lambda job: (frames().astype(np.float32), 8), g4v.GeneratorError, "must return frames"),
        (lambda job: (frames()[0], 8), g4v.GeneratorError, "must return frames"),
        (lambda job: (frames(), "fast"), g4v.GeneratorError, "must return frames"),
        (lambda job: (frames()[:0], 8), g4v.GeneratorError, "cannot be used"),
        (lambda job: (frames(), 0), g4v.GeneratorError, "fps is 0 but must be above 0"),
        (lambda job: (frames(), float("nan")), g4v.GeneratorError, "fps is nan"),
        (
            lambda job: (frames(count=50), 8),
            g4v.GeneratorError,
            "has 1200 pixels, and max_video_pixels is 999",
        ),
        (lambda job: job.progress(3, 2), g4v.ArgumentError, "progress is 3 of 2"),
    ],
)
def test_what_it_does_not_make_is_an_event_and_the_talk_goes_on(bare, generate, kind, part):
    assistant = load(bare, generate, limits=_core.Limits(max_video_pixels=999))
    chat = assistant.chat(seed=0)
    events = ask(chat, "say b")
    assert text_of(events) == "One:  and two:  done." and names(events)[-1] == "Done"
    failed = only(events, _core.VideoFailedEvent)
    assert sorted((e.index, e.caption, e.code) for e in failed) == [
        (0, "a red circle", kind.code),
        (1, "blue", kind.code),
    ]
    assert chat.turns == 1 and text_of(ask(chat, "say a")) == "Hello, world."
    with pytest.raises(kind, match=part) as caught:
        list(assistant.generate("blue"))
    assert str(caught.value) == failed[0].message


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"scheduler": "ddim"}, "scheduler is an option of the bundle's own generator"),
        ({"frames": 0}, "frames is 0 but must be 1 to 1024"),
        ({"width": 5000}, "width is 5000 but must be 1 to 4096"),
        ({"steps": 0}, "steps is 0 but must be 1"),
        ({"guidance_scale": -1.0}, "guidance_scale is -1 but must be 0 to 100"),
        ({"frames": 1000, "width": 1000, "height": 1000}, "max_video_pixels is 268435456"),
    ],
)
def test_options_that_it_cannot_obey_are_refused_before_work(bare, options, part):
    asked = []
    assistant = load(bare, lambda job: asked.append(job))
    for begin in (
        lambda given: assistant.chat(video_options=given),
        lambda given: assistant.chat().send("say b", video_options=given),
        lambda given: assistant.generate("blue", given),
    ):
        with pytest.raises(g4v.ArgumentError, match=part):
            begin(_core.VideoOptions(**options))
    with pytest.raises(g4v.ArgumentError, match="latents is an option of the bundle's own generator"):
        latents = np.zeros((1, 1, 1, 1), np.float32)
        assistant.generate("blue", _core.VideoOptions(latents=latents))
    with pytest.raises(g4v.ArgumentError, match="strength is an option of the bundle's own generator"):
        assistant.generate("blue", _core.VideoOptions(strength=0.5))
    with pytest.raises(g4v.ArgumentError, match="video is an option of the bundle's own generator"):
        assistant.check_source(_core.VideoOptions(strength=0.5))
    assert asked == []


def blocked(release, seen):
    def generate(job):
        seen.append(job)
        while not release.wait(0.01):
            pass
        return made(job)

    return generate


@pytest.mark.parametrize("how", ["cancel", "close", "deadline", "generate"])
def test_a_stop_does_not_wait_for_the_generator(bare, how):
    """Not even for one that does not look at `cancelled`. The chat is free then, and nothing comes late."""
    release, seen = threading.Event(), []
    assistant = load(bare, blocked(release, seen))
    chat = assistant.chat(seed=0)
    used = chat.context_used
    if how == "generate":
        stream = assistant.generate("blue")
    else:
        stream = chat.send("say b", max_turn_ms=1500 if how == "deadline" else 0)
    end = time.monotonic() + 20
    while len(seen) < (1 if how == "generate" else 2) and time.monotonic() < end:
        time.sleep(0.005)
    assert not seen[0].cancelled and not seen[0].wait(0.01)
    if how == "deadline":
        with pytest.raises(g4v.DeadlineExceeded):
            list(stream)
    else:
        began = time.monotonic()
        if how == "close":
            stream.close()
        else:
            stream.cancel()
            with pytest.raises(g4v.Cancelled):
                list(stream)
        assert time.monotonic() - began < 0.5  # 20 ms on a machine that is not loaded
    assert all(job.cancelled and job.wait(60) for job in seen)
    assert chat.context_used == used
    if how != "generate":
        assert text_of(ask(chat, "say a")) == "Hello, world."
    release.set()
    del chat, assistant
    gc.collect()  # waits for the generator
    assert list(stream) == []
    seen[0].progress(1, 2)  # too late, and harmless


def test_several_are_made_at_once(bare):
    """Those of two turns, and the second of one: other servers are waited for, not worked for."""
    together = threading.Barrier(4)
    assistant = load(bare, lambda job: (together.wait(20), made(job))[1])
    streams = [assistant.chat(seed=seed).send("say b") for seed in (1, 2)]
    for stream in streams:
        assert names(list(stream)).count("Video") == 2


def test_its_frames_are_checked_before_anybody_sees_them(bare):
    def check(given):
        assert busy.acquire(blocking=False), "two at once"
        time.sleep(0.01)
        busy.release()
        return [float(given[0, 0, 0, 0] > 10)] * len(given)

    busy = threading.Lock()
    assistant = load(bare, made, frame_checker=check)
    events = ask(assistant.chat(seed=0), "say b")
    assert [e.caption for e in only(events, _core.WithheldEvent)] == ["a red circle"]
    assert [e.caption for e in only(events, _core.VideoEvent)] == ["blue"]
    with pytest.raises(g4v.UnsafeVideo, match="2 of its 2 frames look unsafe"):
        list(assistant.generate("a red circle"))


def test_a_generator_may_use_the_assistant(bare):
    def generate(job):
        said.append(text_of(ask(assistants[0].chat(seed=0), "say a")))
        return made(job)

    said, assistants = [], []
    assistants.append(load(bare, generate))
    assert names(ask(assistants[0].chat(seed=0), "say b")).count("Video") == 2
    assert said == ["Hello, world."] * 2


def test_it_is_freed_with_the_assistant(bare):
    class Generator:
        def __call__(self, job):
            return made(job)

    generator = Generator()
    assistant, freed = load(bare, generator), weakref.ref(generator)
    del generator
    assert names(ask(assistant.chat(seed=0), "say b")).count("Video") == 2
    del assistant
    gc.collect()
    assert freed() is None


def test_the_public_face(bare):
    def generate(job):
        if job.caption == "blue":
            raise g4v.GeneratorError("nothing blue here")
        return made(job)

    assistant = g4v.load(bare, threads=1, generator=generate)
    assert assistant.info["generator"] == "host"
    reply = assistant.chat().ask("say b")
    assert [video.caption for video in reply.videos] == ["a red circle"]
    (failed,) = reply.failed
    assert (failed.index, failed.caption) == (1, "blue")
    assert isinstance(failed.error, g4v.GeneratorError) and str(failed.error) == "nothing blue here"
    assert g4v.events.to_json(failed) == {
        "event": "video_failed",
        "index": 1,
        "caption": "blue",
        "kind": "GeneratorError",
        "error": "nothing blue here",
    }
    with pytest.raises(g4v.GeneratorError, match="nothing blue here"):
        assistant.generate("blue")
    assert assistant.generate("a star", seed=4, frames=3).seed == 4
    with pytest.raises(g4v.ArgumentError, match="generator must be a URL or callable, not int"):
        g4v.load(bare, generator=5)
