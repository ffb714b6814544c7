"""The question files of the field: layouts, clips, answers beside, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from g4v.data.formats import DataError, read_questions
from g4v.errors import ArgumentError

from .format_files import write

MSVD = """[
{"answer": "dog", "id": 30933, "question": "what runs?", "video_id": 1301},
{"answer": 2, "id": 30934, "question": "how many\\n are there?", "video_id": 1301}
]"""
ASKED = [
    {"video_name": "1QIUV7WYKXg", "question": "is the athlete wearing trousers", "question_id": "v_1_1"},
    {"video_name": "v_abc", "question": "what colour is it", "question_id": "v_1_2"},
]
ANSWERED = [
    {"answer": "yes", "type": 3, "question_id": "v_1_1"},
    {"answer": "red", "type": "4", "question_id": "v_1_2"},
]


def test_msvd_rows_name_their_clips_by_number(tmp_path: Path) -> None:
    reader = read_questions(write(tmp_path / "test_qa.json", MSVD), "msvd-qa", video_root=tmp_path / "clips")
    first, second = reader
    assert (first.id, first.video, first.question, first.answer) == ("30933", "1301", "what runs?", "dog")
    assert (first.kind, first.line, first.row) == (None, 2, 0)
    assert (second.question, second.answer) == ("how many are there?", "2")
    assert first.find_clip() is None
    clip = tmp_path / "clips" / "vid1301.avi"
    clip.parent.mkdir()
    clip.touch()
    assert first.find_clip() == clip and not reader.problems.count


def test_msrvtt_clips_have_another_name(tmp_path: Path) -> None:
    (question, _) = read_questions(write(tmp_path / "q.json", MSVD), "msrvtt-qa")
    assert question.paths[0] == tmp_path / "video1301.mp4"


def test_activitynet_takes_its_answers_from_the_file_beside(tmp_path: Path) -> None:
    write(tmp_path / "test_a.json", ANSWERED)
    first, second = read_questions(write(tmp_path / "test_q.json", ASKED), "activitynet-qa")
    assert (first.answer, first.kind, second.answer, second.kind) == ("yes", "yes/no", "red", "colour")
    assert [path.name for path in first.paths] == ["v_1QIUV7WYKXg.mp4", "1QIUV7WYKXg.mp4"]
    assert [path.name for path in second.paths] == ["v_abc.mp4"]
    (tmp_path / "v_abc.mkv").touch()
    assert second.find_clip() == tmp_path / "v_abc.mkv"


BAD = [
    ({"id": 1, "question": "x", "video_id": 1}, "'answer' is missing"),
    ({"id": 1, "question": " ", "video_id": 1, "answer": "a"}, "'question' is empty"),
    ({"id": 1, "question": "x", "answer": "a"}, "neither 'video_id' nor 'video_name'"),
    ({"id": 1, "question": "x", "video_id": "../1", "answer": "a"}, "cannot be a file name"),
    ({"id": 9, "question": "x", "video_id": 1, "answer": "a"}, "the id '9' stands in an earlier row"),
    ({"id": 1, "question": "x", "video_id": 1, "answer": "a", "type": 12}, "'type' is 12"),
    (["no row"], "the row is a list, not an object"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_bad_rows_cost_themselves_alone(tmp_path: Path, row: object, reason: str) -> None:
    good = {"id": 9, "question": "what?", "video_id": 4, "answer": "b"}
    path = write(tmp_path / "q.json", "[\n" + json.dumps(good) + ",\n" + json.dumps(row) + "\n]")
    reader = read_questions(path, "msvd-qa")
    assert [q.id for q in reader] == ["9"]
    (line,) = reader.problems.report()
    assert line.startswith(f"{path}, line 3, row [1]: ") and reason in line
    with pytest.raises(DataError, match="line 3"):
        list(read_questions(path, "msvd-qa", on_error="stop"))


def test_questions_without_answer_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.json", ANSWERED[:1] + [{"answer": "", "question_id": "v_1_2"}])
    reader = read_questions(write(tmp_path / "q.json", ASKED), "activitynet-qa", tmp_path / "a.json")
    assert [q.id for q in reader] == ["v_1_1"]
    assert "no usable answer to question_id 'v_1_2'" in reader.problems.report()[0]
    assert reader.answer_problems is not None
    assert "a.json, line 1, row [1]: 'answer' is empty" in reader.answer_problems.report()[0]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    for content, reason in (
        ("", "is empty"),
        ("{}", "is not a list"),
        ("[1,", "is not valid JSON"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    ):
        with pytest.raises(DataError, match=reason):
            list(read_questions(write(tmp_path / "q.json", content), "msvd-qa"))
    with pytest.raises(DataError, match="test_a.json: does not exist"):
        read_questions(write(tmp_path / "test_q.json", ASKED), "activitynet-qa")
    with pytest.raises(ArgumentError, match="format must be one of msvd-qa"):
        read_questions(tmp_path / "q.json", "tgif-qa")
