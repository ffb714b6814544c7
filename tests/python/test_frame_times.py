"""Frames by the second: which are taken, when they are shown, and the words for it; C++ and Python alike."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path

import numpy as np
import pytest

from g4v import _core
from g4v._sampling import FrameSampling, VideoInfo
from g4v.errors import ArgumentError, VideoError
from g4v.model.prompt_words import duration, number_in_words, timestamp
from g4v.video import read_video

from . import synthetic_bundle as toy


def wanted_frames(sampling: FrameSampling, count: int, rate: float) -> list[int]:
    """The rule as its documentation has it, by NumPy."""
    length = count / rate
    first, last = 0, count - 1
    if length - 2 * sampling.skip_seconds > sampling.frames * (sampling.fps or 0) and sampling.skip_seconds:
        first = int(sampling.skip_seconds * rate)
        last = min(int(count - sampling.skip_seconds * rate), count - 1)
    if first >= last:
        first, last = 0, count - 1
    number = max(1, min(round((sampling.fps or 0) * length), sampling.frames))
    return [int(index) for index in np.unique(np.linspace(first, last, number, dtype=int))]


def test_frames_by_the_second() -> None:
    draw = random.Random(4)
    for _ in range(3000):
        sampling = FrameSampling(draw.randint(1, 70), draw.choice([0.5, 1, 2, 3.7]), draw.choice([0, 1, 2.5]))
        count, rate = draw.randint(1, 4000), draw.choice([1, 23.976, 24, 25, 29.97, 0.3])
        assert sampling.choose(count, rate) == wanted_frames(sampling, count, rate)


def test_the_rule_floor_is_that_of_transformers() -> None:
    """Of processors without a rule of their own; where that asks for more frames than there are, all."""
    utils = pytest.importorskip("transformers.video_utils")
    draw = random.Random(5)
    for _ in range(1000):
        count, rate = draw.randint(1, 900), draw.choice([1.0, 23.976, 25.0, 29.97, 0.3])
        about = utils.VideoMetadata(total_num_frames=count, fps=rate, duration=count / rate)
        frames, fps = draw.randint(1, 64), draw.choice([0.1, 0.5, 1, 2])
        wanted = utils.default_sample_indices_fn(about, num_frames=min(frames, count)).tolist()
        assert FrameSampling(frames, rule="floor").choose(count, rate) == wanted
        assert _core.testing.floor_frames(count, min(frames, count)) == wanted
        if 1 <= int(count / rate * fps) <= count:
            by_time = utils.default_sample_indices_fn(about, fps=fps).tolist()
            assert FrameSampling(10**6, fps, rule="floor").choose(count, rate) == by_time
    with pytest.raises(VideoError):
        FrameSampling(8, rule="floor").choose(0, None)
    with pytest.raises(ArgumentError):
        FrameSampling(0, rule="floor").choose(8, None)


def test_as_transformers_takes_them() -> None:
    pytest.importorskip("torchvision", exc_type=Exception)
    processing = pytest.importorskip("transformers.models.smolvlm.video_processing_smolvlm")
    made = processing.SmolVLMVideoProcessor()
    draw = random.Random(5)
    for _ in range(300):
        sampling = FrameSampling(draw.randint(1, 70), draw.choice([0.5, 1, 2]), 1.0)
        count, rate = draw.randint(1, 4000), draw.choice([23.976, 25.0, 29.97])
        from transformers.video_utils import VideoMetadata

        about = VideoMetadata(total_num_frames=count, fps=rate, duration=count / rate)
        found = made.sample_frames(about, sampling.frames, sampling.fps)
        assert sampling.choose(count, rate) == found.tolist()


def test_frames_of_unknown_rate_are_spread() -> None:
    draw = random.Random(6)
    for _ in range(300):
        count, most = draw.randint(1, 300), draw.randint(1, 70)
        found = FrameSampling(most, 1.0).choose(count, None)
        assert found == _core.testing.spread_frames(count, min(most, count))
        assert len(found) == min(most, count) and (found[0], found[-1] in (count - 1, 0)) == (0, True)
    assert FrameSampling(4).choose(4, None) == [0, 1, 2, 3]
    with pytest.raises(VideoError, match="no frames"):
        FrameSampling(4, 1.0).choose(0, 1)
    with pytest.raises(ArgumentError, match="at least 1"):
        FrameSampling(0, 1.0).choose(4, 1)


def test_when_frames_are_shown() -> None:
    info = VideoInfo("x", 50, (0, 10, 49), 5.0)
    assert FrameSampling(8, 1.0).times(info) == ([0, 2, 49 / 5], 10)
    assert FrameSampling(8).times(info) is None
    unknown = VideoInfo("x", 48, (0, 24), None)
    assert FrameSampling(8, 1.0).times(unknown) == ([0, 1], 2)
    frames, about = read_video(np.zeros((30, 8, 8, 3), np.uint8), FrameSampling(7, 1.0))
    assert len(frames) == 7 and about.indices[-1] == 29


def test_words() -> None:
    num2words = pytest.importorskip("num2words").num2words
    for number in [*range(1200), 9999, 10_000, 12_021, 999_999]:
        assert number_in_words(number) == num2words(number)
    draw = random.Random(7)
    for _ in range(500):
        seconds = draw.choice([draw.uniform(0, 100), draw.uniform(0, 3e5)])
        assert duration(seconds) == str(datetime.timedelta(seconds=int(seconds)))
    assert (timestamp(75.9), timestamp(6000)) == ("01:15", "100:00")


def test_the_core_writes_the_same(tmp_path: Path) -> None:
    """A template whose frames have a text each, with a tokenizer of single bytes."""
    toy.write_bundle(tmp_path / "bundle")
    prompt = json.loads((tmp_path / "bundle" / "g4v.json").read_text("utf-8"))["prompt"] | {
        "video_prefix": "{frame_count}|{duration}|",
        "frame_prefix": "[{timestamp}",
        "frame_suffix": "]",
        "video_suffix": ";",
    }
    tokenizer = _core.Tokenizer((tmp_path / "bundle" / "tokenizer.json").read_text("utf-8"))
    draw = random.Random(8)
    for count in (1, 2, 3, 21, 101, 342, 1001, 1024):
        seconds = sorted(draw.uniform(0, 9e4) for _ in range(count))
        length = seconds[-1] + 1
        parts = _core.testing.turn_ids(json.dumps(prompt), tokenizer, "", "hi", True, seconds, length)
        texts = [tokenizer.decode(part) for part in parts]
        assert texts[0].endswith(f"{number_in_words(count)}|{duration(length)}|[{timestamp(seconds[0])}")
        assert texts[1:-1] == [f"][{timestamp(second)}" for second in seconds[1:]]
        assert texts[-1].startswith("];hi")


def test_the_core_takes_the_same_frames_by_the_second() -> None:
    """Of C and C++ hosts, which hand whole videos over with their frames a second."""
    draw = random.Random(9)
    for _ in range(20_000):
        rule = draw.choice(["spread", "floor"])
        skip = 0.0 if rule == "floor" else draw.choice([0, 1, 2.5])
        most, fps = draw.choice([1, 2, draw.randint(1, 70)]), draw.choice([0.01, 0.5, 1, 2, 3.7, 1000])
        count = draw.choice([1, 2, draw.randint(1, 4000)])
        rate = draw.choice([1, 23.976, 24, 25, 29.97, 0.3, 1000, 1e-3, draw.uniform(1e-3, 1000)])
        wanted = FrameSampling(most, fps, skip, rule).choose(count, rate)
        assert _core.testing.frames_by_second(count, rate, most, fps, skip, rule == "floor") == wanted
