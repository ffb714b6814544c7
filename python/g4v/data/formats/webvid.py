"""WebVid: a CSV file with the columns videoid, page_dir, name (the caption), mostly contentUrl and duration.

The clip of a row lies at videos/{page_dir}/{videoid}.mp4 below the root of the videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from g4v.data.formats.instructions import DESCRIBE
from g4v.data.formats.json_file import Row
from g4v.data.formats.lines import csv_rows
from g4v.data.formats.sample import Context, Sample, Seen, choose
from g4v.data.formats.values import identity, line_of, seconds, short, video_of_id, video_path

COLUMNS = ("videoid", "page_dir", "name")


def read_webvid(path: Path, context: Context) -> Iterator[Sample]:
    """Rows of a WebVid CSV: a video's id and its caption."""
    seen = Seen()
    for row in csv_rows(path, context.problems):
        with context.problems.row(row.line, row.index):
            yield _sample(row, context, seen)


def _sample(row: Row, context: Context, seen: Seen) -> Sample:
    values = row.value
    id = identity(values["videoid"], "'videoid'")
    folder = video_path(context.root / "videos", values["page_dir"], "'page_dir'", absolute=False)
    caption = line_of(values["name"], "'name'")
    if values.get("duration", "").strip():
        seconds(values["duration"], "'duration'")
    video = video_of_id(folder, id, "'videoid'")
    question = choose(DESCRIBE, context.seed, id)
    sample = context.sample(row, [(question, caption)], video, id=id)
    seen.check(id, f"the videoid {short(id)} stands in an earlier row")
    return sample
