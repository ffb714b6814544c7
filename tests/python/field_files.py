"""Small clips and an assistant that says what a test wants, for the evaluations on the field's files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import g4v
from g4v._encode import save_video


def write_clip(path: Path, shade: int = 100, frames: int = 2) -> Path:
    """A clip of one colour, 16x16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_video(path, np.full((frames, 16, 16, 3), shade, np.uint8), 4.0)


class Scripted:
    """Stands for an assistant. `say(text, clip)` gives a text, a (text, captions, refused), or raises."""

    name, device = "scripted", "cpu"

    def __init__(self, monkeypatch: Any, say: Callable[[str, Any], Any]) -> None:
        self.say, self.info = say, {"name": self.name}
        self.score_frames = lambda frames: np.zeros(len(frames), np.float32)
        self.asked: list[tuple[str, Any]] = []
        self.made: list[tuple[str, int]] = []
        monkeypatch.setattr(g4v, "load", lambda *_, **__: self)

    def chat(self, seed: int, steps: int | None = None) -> Scripted:
        return self

    def ask(self, text: str, video: Any = None) -> g4v.Reply:
        self.asked.append((text, video))
        if isinstance(video, Path):
            from g4v.video import read_video

            read_video(video, 8)  # a broken clip raises here, as it does in a chat
        said = self.say(text, video)
        text, captions, refused = said if isinstance(said, tuple) else (said, (), False)
        frames = np.zeros((2, 8, 8, 3), np.uint8)
        videos = tuple(g4v.Video(frames, 8.0, c, i, 0) for i, c in enumerate(captions))
        return g4v.Reply(text, videos, refused, g4v.Timings(), 1, 1, "stop")

    def generate(self, prompt: str, seed: int, **_: Any) -> g4v.Video:
        self.made.append((prompt, seed))
        frames = np.random.default_rng([seed, len(prompt)]).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
        return g4v.Video(frames, 8.0, prompt, 0, seed)
