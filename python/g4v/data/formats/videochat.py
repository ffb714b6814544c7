"""VideoChat-11k: a list of {"video": path, "QA": [{"q", "a"}, ..], optional "start" and "end"}.

Later files of the same authors add an instruction "i" to the first pair and may leave its "q" empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from g4v.data.formats.json_file import Row
from g4v.data.formats.sample import Context, Sample, Seen
from g4v.data.formats.values import array, identity, need, record, seconds, span, text, video_path


def read_videochat(rows: list[Row], context: Context) -> Iterator[Sample]:
    """Rows of VideoChat's layout: a video with questions and answers about it."""
    seen = Seen()
    for row in rows:
        with context.problems.row(row.line, row.index):
            yield _sample(row, context, seen)


def _sample(row: Row, context: Context, seen: Seen) -> Sample:
    values = record(row.value, "the row")
    video = video_path(context.root, need(values, "video"), "'video'")
    pairs = array(need(values, "QA"), "'QA'")
    exchanges = [_pair(pair, turn) for turn, pair in enumerate(pairs)]
    start, end = (
        None if values.get(key) is None else seconds(values[key], f"'{key}'") for key in ("start", "end")
    )
    span(start, end)
    id = identity(values["video"], "'video'")
    sample = context.sample(row, exchanges, video, start=start, end=end, id=id)
    seen.check((video, start, end, sample.turns), "the same row stands earlier in the file")
    return sample


def _pair(pair: Any, turn: int) -> tuple[str, str]:
    what = f"'QA' {turn + 1}"
    pair = record(pair, what)
    question = text(pair.get("q", ""), f"{what} 'q'", empty=True)
    if turn == 0:
        instruction = text(pair.get("i", ""), f"{what} 'i'", empty=True)
        question = f"{instruction}\n{question}".strip()
    return question, text(need(pair, "a"), f"{what} 'a'")
