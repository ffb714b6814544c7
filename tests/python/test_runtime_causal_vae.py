"""Videos of a transformer and a causal VAE in the core: chunk by chunk, with what each keeps for the next."""

import json
import time

import numpy as np
import pytest

import g4v
from g4v import _core
from g4v._runtime import onnxruntime_directories

from .causal_bundle import MEAN, SCALING, STD, write_bundle
from .talking import only


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal") / "bundle"
    write_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def assistant(folder):
    return _core.Assistant.load(str(folder), library_dirs=onnxruntime_directories(), threads=1)


def made(assistant, latents, frames, steps=2):
    options = _core.VideoOptions(
        frames=frames, latents=latents, guidance_scale=1.0, steps=steps, height=6, width=8
    )
    (video,) = only(list(assistant.generate("a", options)), _core.VideoEvent)
    return video.frames


def decoded(latents):
    """uint8 [F, H, W, 3] of what the VAE's graph does with latents [4, f, h, w], in float32."""
    mean, std = (np.array(v, np.float32).reshape(4, 1, 1, 1) for v in (MEAN, STD))
    values = latents * (std / np.float32(SCALING)) + mean
    large = values[:3].repeat(2, axis=2).repeat(2, axis=3).transpose(1, 0, 2, 3)  # [f, 3, H, W]
    nothing = np.zeros_like(large[:1])
    padded = np.concatenate([nothing, nothing, large])
    frames = []
    for place in range(len(large)):
        oldest, newest, own = padded[place], padded[place + 1], padded[place + 2]
        first = own + newest * np.float32(0.25)
        frames += [first] if place == 0 else [first, first + oldest * np.float32(0.25)]
    pixels = np.clip((np.stack(frames) + 1) * np.float32(127.5), 0, 255)
    return np.rint(pixels).astype(np.uint8).transpose(0, 2, 3, 1)


def test_info_and_sizes(assistant):
    info = json.loads(assistant.info())
    assert set(info["components"]) == {"text_encoder", "transformer", "vae_decoder"}
    for options, message in (
        ({"frames": 4}, "frames is 4 but must be 1 more than a multiple of 2, such as 3 or 5"),
        ({"frames": 81}, "frames is 81 but this bundle's transformer has positions for at most 79"),
        ({"width": 6}, "width is 6 but must be a multiple of 4"),
        ({"height": 7}, "height is 7 but must be a multiple of 2"),
        ({"height": 82}, "height is 82 but this bundle's transformer has positions for at most 80"),
        ({"width": 164}, "width is 164 but this bundle's transformer has positions for at most 160"),
    ):
        with pytest.raises(g4v.Error, match=message):
            assistant.generate("a", _core.VideoOptions(**options))


@pytest.mark.parametrize("frames", [1, 3, 5, 11])
def test_each_chunk_has_what_was_before(assistant, frames):
    latents = np.random.default_rng(frames).standard_normal((4, (frames - 1) // 2 + 1, 3, 4))
    latents = latents.astype(np.float32)
    latents[3] = -10  # no chunk takes a while
    found, wanted = made(assistant, latents, frames), decoded(latents)
    assert found.shape == wanted.shape == (frames, 6, 8, 3) and wanted.std() > 10
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_videos_do_not_see_each_other(assistant):
    """Caches are those of one video: the same latents give the same frames after others, and beside them."""
    latents = np.zeros((4, 3, 3, 4), np.float32)
    latents[0] = 0.5
    before = made(assistant, latents, 5)
    made(assistant, latents + 1, 5)
    assert np.array_equal(made(assistant, latents, 5), before)


def test_a_cancel_waits_for_no_more_than_a_chunk(assistant):
    latents = np.zeros((4, 39, 3, 4), np.float32)
    latents[3] = 4e4  # trips of a loop in every chunk, half as many

    def start(frames, count):
        options = _core.VideoOptions(
            frames=frames, latents=latents[:, :count].copy(), guidance_scale=1.0, steps=1, height=6, width=8
        )
        return assistant.generate("a", options), time.monotonic()

    stream, began = start(5, 3)
    assert len(only(list(stream), _core.VideoEvent)) == 1
    chunk = (time.monotonic() - began) / 3
    stream, _ = start(77, 39)
    event = next(iter(stream))
    assert isinstance(event, _core.ProgressEvent) and event.step == event.steps == 1
    time.sleep(1.5 * chunk)  # in the middle of the chunks
    began = time.monotonic()
    stream.cancel()
    with pytest.raises(g4v.Cancelled):
        list(stream)
    assert chunk > 0.005 and time.monotonic() - began < 10 * chunk  # of 37 that were left
