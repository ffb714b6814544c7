"""Question answering about videos: MSVD-QA, MSRVTT-QA and ActivityNet-QA.

MSVD-QA, MSRVTT-QA: one file, [{"question", "answer", "video_id": N, "id"}, ..]; the clips are vidN.avi and
videoN.mp4.

ActivityNet-QA: *_q.json, [{"video_name", "question", "question_id"}, ..], and beside it *_a.json,
[{"answer", "type", "question_id"}, ..]; the clips are v_NAME or NAME with any suffix of a video. The other
two are also handed round in this layout, and are read in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g4v.data.formats.json_file import Document, Row, read_document
from g4v.data.formats.opening import file_head
from g4v.data.formats.problems import DataError, Problem, Problems, RowError
from g4v.data.formats.sample import Seen
from g4v.data.formats.values import identity, kind, line_of, need, record, short, video_of_id
from g4v.data.formats.videos import find_video
from g4v.errors import ArgumentError

QA_FORMATS = ("msvd-qa", "msrvtt-qa", "activitynet-qa")
ACTIVITYNET_TYPES = (
    "motion", "spatial", "temporal", "yes/no", "colour", "object", "location", "number", "other",
)  # fmt: skip
"""What the numbers 0 to 8 of "type" in ActivityNet-QA mean."""
_STEMS = {"msvd-qa": "vid", "msrvtt-qa": "video"}


@dataclass(frozen=True)
class Question:
    """One question with its one right answer.

    id: of the question in its file. video: of the clip in its file. paths: where the clip can be, the
    likeliest first, each with any suffix of a video. kind: one of `ACTIVITYNET_TYPES`, or None.
    source, line, row: where the question was read; line counts from 1, row from 0.
    """

    id: str
    video: str
    paths: tuple[Path, ...]
    question: str
    answer: str
    kind: str | None
    source: Path
    line: int
    row: int

    def find_clip(self) -> Path | None:
        """The file of the clip; None where it is missing."""
        return next((found for path in self.paths if (found := find_video(path)) is not None), None)


class QuestionReader:
    """The questions of one file, read again by every iteration. `problems` is about the latest one;
    `answer_problems` about the file of the answers, None where the rows have them.
    """

    def __init__(self, path: Path, format: str, root: Path, document: Document, problems: Problems) -> None:
        self.path, self.format, self.problems = path, format, problems
        self._root, self._document = root, document
        self._answers: dict[str, tuple[str, str | None]] | None = None
        self.answer_problems: Problems | None = None

    def use_answers(self, path: Path) -> None:
        """Takes the answers from another file. Raises `DataError`."""
        self.answer_problems = Problems(path, self.problems.on_error)
        self._answers = {}
        for row in _rows(path, _read(path)):
            with self.answer_problems.row(row.line, row.index):
                values = record(row.value, "the row")
                id = identity(need(values, "question_id"), "'question_id'")
                if id in self._answers:
                    raise RowError(f"the question_id {short(id)} stands in an earlier row")
                self._answers[id] = (_answer(values), _kind(values.get("type")))

    def __iter__(self) -> Iterator[Question]:
        self.problems.clear()
        seen = Seen()
        for row in _rows(self.path, self._document):
            with self.problems.row(row.line, row.index):
                yield self._question(row, seen)

    def _question(self, row: Row, seen: Seen) -> Question:
        values = record(row.value, "the row")
        id = identity(need(values, "question_id" if "question_id" in values else "id"), "the id")
        if "video_name" not in values and "video_id" not in values:
            raise RowError("neither 'video_id' nor 'video_name' is there")
        video = identity(values.get("video_name", values.get("video_id")), "the video's id")
        paths = tuple(video_of_id(self._root, name, "the video's id") for name in self._names(video))
        question = line_of(need(values, "question"), "'question'")
        if self._answers is None:
            answer, type = _answer(values), _kind(values.get("type"))
        elif id in self._answers:
            answer, type = self._answers[id]
        else:
            raise RowError(f"the file of answers has no usable answer to question_id {short(id)}")
        seen.check(id, f"the id {short(id)} stands in an earlier row")
        return Question(id, video, paths, question, answer, type, self.path, row.line, row.index)

    def _names(self, video: str) -> tuple[str, ...]:
        stem = _STEMS.get(self.format)
        if stem is None:
            return (video,) if video.startswith("v_") else (f"v_{video}", video)
        return (f"{stem}{video}", video) if video.isdecimal() else (video,)


def read_questions(
    path: str | os.PathLike[str],
    format: str,
    answers: str | os.PathLike[str] | None = None,
    video_root: str | os.PathLike[str] | None = None,
    on_error: str = "skip",
) -> QuestionReader:
    """Opens a file of questions.

    format: one of `QA_FORMATS`; it says how the clips are called. answers: a file of the answers; None takes
    them from the rows themselves, or for a name that ends in _q.json from the file that ends in _a.json.
    video_root: folder of the clips; None takes the folder of the questions. on_error: "skip" leaves bad rows
    out and keeps them in `problems`, "stop" raises at the first.
    Raises `DataError` with file, line and reason where a file as a whole cannot be used.
    """
    if format not in QA_FORMATS:
        raise ArgumentError(f"format must be one of {', '.join(QA_FORMATS)}, not {format!r}")
    if on_error not in ("skip", "stop"):
        raise ArgumentError(f"on_error must be 'skip' or 'stop', not {on_error!r}")
    file = Path(path)
    root = file.parent if video_root is None else Path(video_root)
    reader = QuestionReader(file, format, root, _read(file), Problems(file, on_error))
    if answers is None and file.name.endswith("_q.json"):
        answers = file.with_name(file.name.removesuffix("_q.json") + "_a.json")
    if answers is not None:
        reader.use_answers(Path(answers))
    return reader


def _read(path: Path) -> Document:
    try:
        file_head(path)
        return read_document(path)
    except OSError as error:
        raise DataError(Problem(path, f"cannot be read: {error.strerror or error}")) from None


def _rows(path: Path, document: Document) -> list[Row]:
    if document.rows is None:
        raise DataError(Problem(path, "is not a list of questions or answers: it is an object"))
    return document.rows


def _answer(values: dict[str, Any]) -> str:
    answer = need(values, "answer")
    return identity(answer, "'answer'") if isinstance(answer, int) else line_of(answer, "'answer'")


def _kind(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RowError(f"'type' is {kind(value)}, not a number of 0 to {len(ACTIVITYNET_TYPES) - 1}")
    if not 0 <= value < len(ACTIVITYNET_TYPES):
        raise RowError(f"'type' is {value}, not a number of 0 to {len(ACTIVITYNET_TYPES) - 1}")
    return ACTIVITYNET_TYPES[value]
