"""Shapes data in the layouts of the field: the project's own readers take every file, with all its clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from g4v.data.__main__ import main
from g4v.data.formats import find_video, read_questions, read_samples
from g4v.shapes.world.world import parse_caption
from g4v.video import read_video


def export(folder: Path, format: str, count: int = 4, *more: object) -> Path:
    arguments = ["shapes", "--format", format, "--out", folder, "--count", count, *more]
    assert main([str(a) for a in arguments]) == 0
    return folder


@pytest.mark.parametrize(
    ("format", "file"),
    [("msvd-qa", "test_qa.json"), ("msrvtt-qa", "test_qa.json"), ("activitynet-qa", "test_q.json")],
)
def test_questions(tmp_path: Path, format: str, file: str) -> None:
    folder = export(tmp_path / "out", format)
    reader = read_questions(folder / file, format, video_root=folder / "videos", on_error="stop")
    questions = list(reader)
    assert len(questions) == 4 and len({q.id for q in questions}) == 4
    assert all(q.answer and len(q.answer.split()) <= 3 for q in questions)
    assert all((q.kind is not None) == (format == "activitynet-qa") for q in questions)
    for question in questions:
        clip = question.find_clip()
        assert clip is not None
        frames, info = read_video(clip, 8)
        assert frames.shape == (8, 64, 64, 3) and info.frame_count == 8 and frames.std() > 3


def test_captions(tmp_path: Path) -> None:
    folder = export(tmp_path, "msrvtt")
    samples = list(
        read_samples(
            folder / "test_videodatainfo.json", split="test", video_root=folder / "videos", on_error="stop"
        )
    )
    videos = {sample.videos[0] for sample in samples}
    assert len(videos) == 4 and all(video is not None and find_video(video) for video in videos)
    assert all(parse_caption(sample.turns[0].answer or "") is not None for sample in samples)
    assert len(samples) > 4


def test_prompts(tmp_path: Path) -> None:
    folder = export(tmp_path, "realtoxicityprompts", 6)
    samples = list(read_samples(folder / "prompts.jsonl", toxicity=(0, 1), on_error="stop"))
    assert [sample.toxicity for sample in samples] == [1, 0] * 3
    assert len({sample.turns[0].user for sample in samples}) == 6


def test_the_seed_decides(tmp_path: Path) -> None:
    first = export(tmp_path / "a", "msvd-qa", 2)
    again = export(tmp_path / "b", "msvd-qa", 3)
    other = export(tmp_path / "c", "msvd-qa", 2, "--seed", 1)

    def read(folder: Path) -> list[tuple[str, str]]:
        return [(q.question, q.answer) for q in read_questions(folder / "test_qa.json", "msvd-qa")]

    assert read(first) == read(again)[:2] != read(other)
    one, two = (read_video(folder / "videos" / "vid1.mp4", 8)[0] for folder in (first, again))
    assert np.array_equal(one, two)


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert main(["shapes", "--format", "msvd-qa", "--out", str(tmp_path / "file")]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert main(["shape"]) == 2
    assert "name a command: dialogues, replies, shapes" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["shapes", "--format", "coco", "--out", str(tmp_path)])
