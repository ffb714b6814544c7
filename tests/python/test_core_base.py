"""The core's services as Python sees them: preprocessing, frame sampling, ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from g4v import _core, errors

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def pillow_resize(
    image: np.ndarray,
    height: int,
    width: int,
    resampling: Image.Resampling = Image.Resampling.BICUBIC,
) -> np.ndarray:
    """Pillow 13's resize; an older Pillow does the two passes one by one in the order that 13 chooses."""
    whole = Image.fromarray(image)
    steps = [(width, height)]
    if int(PIL.__version__.split(".")[0]) < 13:
        columns_first = height < whole.height and 2 * (whole.width - width) < whole.height - height
        steps = [(whole.width, height) if columns_first else (width, whole.height), *steps]
    for size in steps:
        whole = whole.resize(size, resampling)
    return np.asarray(whole)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class TestResize:
    @pytest.mark.parametrize(
        ("height", "width", "out_height", "out_width"),
        [
            (1, 1, 64, 64),
            (1, 500, 64, 64),
            (500, 1, 3, 224),
            (64, 64, 64, 64),
            (63, 65, 64, 64),
            (64, 30, 64, 64),
            (30, 64, 64, 64),
            (720, 1280, 224, 224),
            (1280, 720, 224, 224),
            (300, 3, 2, 2),
            (17, 23, 224, 224),
            (224, 224, 1, 1),
        ],
    )
    def test_equals_pillow(self, height: int, width: int, out_height: int, out_width: int) -> None:
        image = noise(height, width, 3)
        resized = _core.testing.resize(image, out_height, out_width)
        assert np.array_equal(resized, pillow_resize(image, out_height, out_width))

    @settings(max_examples=150, deadline=None)
    @given(st.tuples(*[st.integers(1, 150)] * 4), st.integers(0, 2**31), st.booleans())
    def test_equals_pillow_anywhere(self, sizes: tuple[int, int, int, int], seed: int, extreme: bool) -> None:
        """Black and white pixels alone drive the filter's overshoot into both clamps."""
        height, width, out_height, out_width = sizes
        image = noise(height, width, 3, seed=seed)
        if extreme:
            image = np.where(image > 127, np.uint8(255), np.uint8(0))
        resized = _core.testing.resize(image, out_height, out_width)
        assert np.array_equal(resized, pillow_resize(image, out_height, out_width))

    @settings(max_examples=80, deadline=None)
    @given(st.tuples(*[st.integers(1, 150)] * 4), st.integers(0, 2**31), st.booleans())
    def test_lanczos_equals_pillow(self, sizes: tuple[int, int, int, int], seed: int, extreme: bool) -> None:
        height, width, out_height, out_width = sizes
        image = noise(height, width, 3, seed=seed)
        if extreme:
            image = np.where(image > 127, np.uint8(255), np.uint8(0))
        resized = _core.testing.resize(image, out_height, out_width, "lanczos")
        wanted = pillow_resize(image, out_height, out_width, Image.Resampling.LANCZOS)
        assert np.array_equal(resized, wanted)

    def test_other_resampling_is_refused(self) -> None:
        with pytest.raises(errors.ArgumentError, match="bicubic"):
            _core.testing.resize(noise(4, 4, 3), 2, 2, "nearest")

    def test_same_size_is_the_same_image(self) -> None:
        image = noise(40, 50, 3)
        assert np.array_equal(_core.testing.resize(image, 40, 50), image)

    def test_strided_input(self) -> None:
        image = noise(90, 120, 3)[::2, ::-3]
        expected = pillow_resize(np.ascontiguousarray(image), 64, 64)
        assert np.array_equal(_core.testing.resize(image, 64, 64), expected)


class TestPreprocess:
    def test_values(self) -> None:
        frames = noise(3, 48, 80, 3)
        pixels = _core.preprocess(frames, 32, MEAN, STD)
        assert pixels.shape == (3, 3, 32, 32) and pixels.dtype == np.float32
        resized = np.stack([pillow_resize(frame, 32, 32) for frame in frames])
        expected = (resized.astype(np.float64) / 255 - np.array(MEAN)) / np.array(STD)
        assert np.abs(pixels - expected.transpose(0, 3, 1, 2)).max() < 1e-6

    @pytest.mark.parametrize(
        ("height", "width", "rows", "columns"),
        [(48, 80, 54, 90), (80, 48, 90, 54), (30, 30, 90, 90), (7, 200, 4, 90), (200, 7, 90, 4)],
    )
    def test_by_way_of_a_longest_edge(self, height: int, width: int, rows: int, columns: int) -> None:
        """The other edge is even: 90 * 7 / 200 is 3.15, and so 4."""
        frames = noise(2, height, width, 3)
        pixels = _core.preprocess(frames, 32, MEAN, STD, resampling="lanczos", longest_edge=90)
        steps = [pillow_resize(frame, rows, columns, Image.Resampling.LANCZOS) for frame in frames]
        resized = np.stack([pillow_resize(step, 32, 32, Image.Resampling.LANCZOS) for step in steps])
        expected = (resized.astype(np.float64) / 255 - np.array(MEAN)) / np.array(STD)
        assert np.abs(pixels - expected.transpose(0, 3, 1, 2)).max() < 1e-6

    @pytest.mark.parametrize(
        "frames",
        [
            np.zeros((2, 8, 8, 3), np.float32),
            np.zeros((8, 8, 3), np.uint8),
            np.zeros((2, 8, 8, 4), np.uint8),
            np.zeros((0, 8, 8, 3), np.uint8),
        ],
    )
    def test_refuses(self, frames: np.ndarray) -> None:
        with pytest.raises(errors.ArgumentError, match=r"\[T, H, W, 3\]"):
            _core.preprocess(frames, 32, MEAN, STD)

    def test_refuses_zero_std(self) -> None:
        with pytest.raises(errors.ArgumentError, match="std is 0"):
            _core.preprocess(noise(1, 8, 8, 3), 8, MEAN, (1.0, 0.0, 1.0))


class TestSampleFrames:
    @given(st.integers(1, 10**7), st.integers(1, 64))
    def test_formula(self, count: int, samples: int) -> None:
        step = (count - 1) / samples
        first = int(step / 2)
        expected = [min(first + round(step * i), count - 1) for i in range(samples)]
        assert _core.testing.sample_frames(count, samples) == expected

    def test_known(self) -> None:
        assert _core.testing.sample_frames(1, 8) == [0] * 8
        assert _core.testing.sample_frames(30, 8) == [1, 5, 8, 12, 15, 19, 23, 26]

    def test_refuses(self) -> None:
        with pytest.raises(errors.VideoError, match="no frames"):
            _core.testing.sample_frames(0, 8)
        with pytest.raises(errors.ArgumentError, match="at least 1 frame"):
            _core.testing.sample_frames(8, 0)


def python(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.strip()


class TestLibrary:
    """In processes of their own: one process uses one ONNX Runtime."""

    FIND = (
        "import importlib.util, pathlib\n"
        "from g4v import _core, errors\n"
        "folder = str(pathlib.Path(importlib.util.find_spec('onnxruntime').origin).parent / 'capi')\n"
    )

    def test_wheel(self) -> None:
        out = python(
            self.FIND
            + "info = _core.library_info(directories=[folder])\nprint(info['version'], info['providers'])"
        )
        assert "CPUExecutionProvider" in out
        assert int(out.split(".")[1]) >= 20

    @staticmethod
    def caught(call: str, error: str) -> str:
        """Code that prints the message of the error that `call` raises."""
        return f"try:\n    {call}\nexcept errors.{error} as error:\n    print(error)"

    def test_missing(self) -> None:
        code = self.FIND + self.caught("_core.library_info()", "RuntimeUnavailable")
        message = python(code, G4V_ONNXRUNTIME="/nonexistent/libonnxruntime.so")
        assert "give libonnxruntime itself, or nothing to have the installed one" in message
        assert "\n" not in message

    def test_devices(self) -> None:
        out = python(
            self.FIND
            + "print(_core.resolve_device('cpu', directories=[folder]))\n"
            + "_core.probe_device('cpu', directories=[folder])"
        )
        assert out.startswith("('cpu'")
        unknown = self.caught("_core.resolve_device('tpu', directories=[folder])", "ArgumentError")
        assert 'use "auto", "cpu" or "cuda"' in python(self.FIND + unknown)

    def test_cores(self) -> None:
        assert 1 <= _core.usable_cores() <= (os.cpu_count() or 1)
