"""Writing videos: whole files that play, or no file at all."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import av
import numpy as np
import pytest

from g4v import _encode
from g4v.errors import ArgumentError, OutputError

from .video_samples import gray_frames


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
@pytest.mark.parametrize("size", [(64, 64), (33, 47)])
def test_save_and_read_back(tmp_path, suffix, size):
    frames = np.stack(gray_frames(8, *size))
    path = _encode.save_video(tmp_path / f"out{suffix}", frames, fps=8, title="a gray square")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate) == pytest.approx(8, rel=0.05)
        read = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
    assert len(read) == 8
    assert np.abs(read[:, : size[0], : size[1]].astype(int) - frames).max() <= 4
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_mp4_plays_everywhere(tmp_path):
    path = _encode.save_video(tmp_path / "out.mp4", np.stack(gray_frames(8)), fps=8)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name in ("h264", "mpeg4")
        assert stream.codec_context.pix_fmt == "yuv420p"


def test_without_h264_another_encoder_writes_the_mp4(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    path = _encode.save_video(tmp_path / "out.mp4", np.stack(gray_frames(8)), fps=8)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    monkeypatch.setattr(av, "codecs_available", set())
    with pytest.raises(OutputError, match="no encoder for .webm .libvpx-vp9, libvpx.; save as .mp4 or .gif"):
        _encode.save_video(tmp_path / "out.webm", np.stack(gray_frames(8)), fps=8)


def test_unusable_arguments_of_save(tmp_path):
    frames = np.stack(gray_frames(2))
    for path, video, fps, message in [
        ("out.avi", frames, 8, "ends in .mp4, .webm or .gif"),
        ("out", frames, 8, "ends in"),
        ("out.mp4", frames[0], 8, "uint8 array"),
        ("out.mp4", frames, 0, "fps is 0"),
        ("out.mp4", frames, float("nan"), "fps is nan"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            _encode.save_video(tmp_path / path, video, fps)
    assert list(tmp_path.iterdir()) == []


def fail_writes(monkeypatch, number: int) -> None:
    """Every write of a file in the code under test fails after its first bytes, as on a full disk."""

    class Full(io.FileIO):
        def write(self, data):
            super().write(bytes(data)[:3])
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_encode, "open", lambda path, mode: Full(path, mode.replace("b", "")), raising=False)


def test_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    old = tmp_path / "out.mp4"
    old.write_bytes(b"before")
    fail_writes(monkeypatch, errno.ENOSPC)
    with pytest.raises(OutputError, match="out.mp4 cannot be written: the disk is full") as caught:
        _encode.save_video(old, np.stack(gray_frames(2)), 8)
    assert isinstance(caught.value, OSError) and "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="the disk is full"):
        _encode.check_folder(tmp_path / "a" / "b")
    assert old.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [old]


def test_unwritable_folders(tmp_path, monkeypatch):
    frames = np.stack(gray_frames(2))
    with pytest.raises(OutputError, match="there is no folder .*nowhere; make it first"):
        _encode.save_video(tmp_path / "nowhere" / "out.mp4", frames, 8)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError, match="cannot be written"):
        _encode.check_folder(file / "below")
    with pytest.raises(OutputError, match="cannot be written"):
        _encode.check_folder(file)
    fail_writes(monkeypatch, errno.EACCES)
    with pytest.raises(OutputError, match="no permission"):
        _encode.save_video(tmp_path / "out.mp4", frames, 8)
    assert list(tmp_path.iterdir()) == [file]


def test_check_folder_makes_it_and_leaves_it_empty(tmp_path):
    folder = _encode.check_folder(tmp_path / "a" / "b")
    assert folder == Path(tmp_path / "a" / "b") and list(folder.iterdir()) == []


def test_the_same_frames_are_the_same_bytes():
    """Whatever lies in memory around them."""
    random = np.random.default_rng(0)
    frames = np.full((8, 64, 64, 3), 4, np.uint8)
    for k in range(8):
        frames[k, 20:40, 10 + 3 * k : 30 + 3 * k] = (200, 40, 30)
    kept, found = [], set()
    for _ in range(20):
        kept.append(random.integers(0, 255, random.integers(1000, 300_000)).astype(np.uint8))
        found.add(_encode.encode_video(frames, 8.0, ".mp4"))
    assert len(found) == 1
