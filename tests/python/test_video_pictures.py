"""Pictures that carry EXIF are turned as it says, and nothing of FFmpeg outlives the reading of a video."""

from __future__ import annotations

import gc
import io
import os
import signal
import time

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from g4v.video import read_video

from .video_samples import gray_frames, real_video, write_video

_ORIENTATION = 0x0112


def picture(orientation: int, kind: str, about: str = "") -> bytes:
    """A picture of four colours whose EXIF holds its orientation, and a text where one is given."""
    image = np.zeros((48, 80, 3), np.uint8)
    image[:24, :40], image[:24, 40:], image[24:, :40] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    if about:
        exif[0x010E] = about
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    return out.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_picture_is_turned_as_its_orientation_says(orientation, kind):
    data = picture(orientation, kind)
    expected = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"), int)
    frames, info = read_video(data, 1)
    assert info.frame_count == 1 and frames.shape[1:] == expected.shape
    assert np.abs(frames[0] - expected)[4:20, 4:20].max() < 12
    assert np.abs(frames[0] - expected)[-20:-4, -20:-4].max() < 12


def test_a_film_of_pictures_with_exif():
    film = picture(6, "JPEG", "first") + picture(6, "JPEG", "second") + picture(6, "JPEG")
    frames, info = read_video(film, 3)
    assert info.frame_count == 3 and frames.shape == (3, 80, 48, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation):
    assert read_video(picture(orientation, "JPEG"), 1)[0].shape == (1, 48, 80, 3)


def leftovers() -> set[str]:
    """Classes of PyAV of which objects wait for the garbage collector."""
    found = {type(thing) for thing in gc.get_objects()}
    return {kind.__name__ for kind in found} & {"VideoFrame", "VideoReformatter", "SideDataContainer"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bigbuckbunny.mp4", "bikes.mp4"])
def test_nothing_is_left_to_the_garbage_collector(name):
    gc.collect()
    assert not leftovers()
    gc.disable()
    try:
        read_video(real_video(name), 8)
        assert not leftovers()
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_process_that_is_forked_after_a_video_was_read(tmp_path):
    """As the workers of a DataLoader are: the child frees what the parent left, reads videos, and ends."""
    path = write_video(tmp_path / "clip.mp4", gray_frames(40, 360, 640))
    gc.disable()
    try:
        expected = read_video(path, 8)[0]
        child = os.fork()
        if child == 0:
            code = 1
            try:
                gc.collect()
                code = 0 if np.array_equal(read_video(path, 8)[0], expected) else 2
            finally:
                os._exit(code)
    finally:
        gc.enable()
    end = time.monotonic() + 60
    while (waited := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(waited[1]) == 0


@pytest.mark.slow
def test_the_reference_of_these_tests_sees_left_frames():
    """What the test above looks for is really found where it is left."""
    gc.collect()
    frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
    assert "VideoFrame" in leftovers() and frame is not None
