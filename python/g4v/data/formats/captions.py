"""Captions: MSR-VTT in its official and its Karpathy-style layouts, and ActivityNet Captions.

MSR-VTT, official: {"videos": [{"video_id", "split", "start time", "end time", ..}],
"sentences": [{"video_id", "caption", "sen_id"}]}. The times are those of the clip within its source on the
web; the clips of the data set are cut already, so the samples have none.

MSR-VTT, Karpathy style: a list, or {"images": [..]}, of rows with one of "video_id", "video", "image_id",
"clip_name", "filename", with "caption" (a text or several) or "sentences" (texts or {"raw"});
"split" may be there.
{"annotations": [{"image_id", "caption"}]} is the same thing.

ActivityNet Captions: {id: {"duration", "timestamps": [[start, end], ..], "sentences": [..]}}, one sample for
every event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from g4v.data.formats.instructions import DESCRIBE
from g4v.data.formats.json_file import Document, Row
from g4v.data.formats.problems import DataError, Problem, RowError
from g4v.data.formats.sample import Context, Sample, Seen, choose
from g4v.data.formats.values import (
    array,
    identity,
    line_of,
    need,
    record,
    seconds,
    short,
    span,
    text,
    video_of_id,
    video_path,
)

VIDEO_KEYS = ("video_id", "video", "image_id", "clip_name", "filename")
CAPTION_KEYS = ("caption", "captions", "sentences")
_SPLITS = {"validate": "val", "validation": "val", "dev": "val", "restval": "train"}
_LATE = 1.0  # seconds by which an event of ActivityNet may end after the video: its durations are rounded


def read_msrvtt(document: Document, context: Context) -> Iterator[Sample]:
    """Captions of MSR-VTT, of its official layout or Karpathy's ("images", "annotations" or rows)."""
    if document.rows is not None:
        return _karpathy(document.rows, context)
    for key in ("images", "annotations"):
        if key in document.members:
            return _karpathy(_member(document, key, context), context)
    return _official(_member(document, "videos", context), _member(document, "sentences", context), context)


def _member(document: Document, key: str, context: Context) -> list[Row]:
    found = document.members.get(key)
    if found is None or not isinstance(found.value, list):
        raise DataError(Problem(context.path, f"has no list '{key}'", found.line if found else None))
    return found.value


def _split(value: Any) -> str:
    name = text(value, "'split'").lower()
    return _SPLITS.get(name, name)


class _Splits:
    """Chooses the rows of one split and remembers the others for the message."""

    def __init__(self, context: Context) -> None:
        self.wanted, self.context = _split(context.split), context
        self.names: set[str] = set()

    def has(self, row: dict[str, Any]) -> bool:
        if row.get("split") is None:
            self.names.add(self.wanted)
            return True
        self.names.add(_split(row["split"]))
        return _split(row["split"]) == self.wanted

    def check(self) -> None:
        if self.names and self.wanted not in self.names:
            there = ", ".join(short(name) for name in sorted(self.names)[:10])
            reason = f"has no rows of split {short(self.context.split)}; it has {there}"
            raise DataError(Problem(self.context.path, reason))


def _official(videos: list[Row], sentences: list[Row], context: Context) -> Iterator[Sample]:
    chosen: dict[str, bool] = {}
    splits = _Splits(context)
    for row in videos:
        with context.problems.row(row.line, row.index):
            values = record(row.value, "the row of 'videos'")
            name = identity(need(values, "video_id"), "'video_id'")
            if name in chosen:
                raise RowError(f"the video_id {short(name)} stands in an earlier row of 'videos'")
            chosen[name] = splits.has(values)
    splits.check()
    seen = Seen()
    for row in sentences:
        with context.problems.row(row.line, row.index):
            values = record(row.value, "the row of 'sentences'")
            name = identity(need(values, "video_id"), "'video_id'")
            if name not in chosen:
                raise RowError(f"the video_id {short(name)} is not among 'videos'")
            if values.get("sen_id") is not None:
                number = identity(values["sen_id"], "'sen_id'")
                seen.check(number, f"the sen_id {short(number)} stands in an earlier row")
            if chosen[name]:
                yield _caption(row, need(values, "caption"), name, context)


def _karpathy(rows: list[Row], context: Context) -> Iterator[Sample]:
    splits = _Splits(context)
    for row in rows:
        with context.problems.row(row.line, row.index):
            values = record(row.value, "the row")
            if not splits.has(values):
                continue
            video_key = next((key for key in VIDEO_KEYS if key in values), None)
            caption_key = next((key for key in CAPTION_KEYS if key in values), None)
            if video_key is None or caption_key is None:
                missing = VIDEO_KEYS if video_key is None else CAPTION_KEYS
                raise RowError(f"none of {', '.join(missing)} is there")
            captions = values[caption_key]
            captions = array(captions, f"'{caption_key}'") if isinstance(captions, list) else [captions]
            if not captions:
                raise RowError(f"'{caption_key}' is empty")
            name = identity(values[video_key], f"'{video_key}'")
            for caption in captions:
                with context.problems.row(row.line, row.index):
                    if isinstance(caption, dict):
                        caption = need(record(caption, "a sentence"), "raw")
                    yield _caption(row, caption, name, context)
    splits.check()


def _caption(row: Row, caption: Any, name: str, context: Context) -> Sample:
    if "/" in name:
        video = video_path(context.root, name, "the video")
    else:
        video = video_of_id(context.root, name, "the video")
    answer = line_of(caption, "the caption")
    question = choose(DESCRIBE, context.seed, f"{name}:{answer}")
    return context.sample(row, [(question, answer)], video, id=name)


def read_activitynet(document: Document, context: Context) -> Iterator[Sample]:
    """Captions of ActivityNet: one sample for each described span of a video."""
    for key, line in document.doubled:
        context.problems.add(f"the id {short(key)} stands twice; the later one is read", line)
    for key, member in document.members.items():
        with context.problems.row(member.line, member.index):
            if isinstance(member.value, list):
                raise RowError(f"{short(key)} is a list, not an object")
            values = record(member.value, short(key))
            name = identity(key, "the id")
            video = video_of_id(context.root, name, "the id")
            length = seconds(need(values, "duration"), "'duration'")
            times = array(need(values, "timestamps"), "'timestamps'")
            sentences = array(need(values, "sentences"), "'sentences'")
            if len(times) != len(sentences):
                raise RowError(f"{short(name)} has {len(times)} timestamps and {len(sentences)} sentences")
            for event, (time, sentence) in enumerate(zip(times, sentences, strict=True)):
                with context.problems.row(member.line, member.index):
                    start, end = _event(time, length, f"event {event + 1} of {short(name)}")
                    answer = line_of(sentence, f"sentence {event + 1} of {short(name)}")
                    question = choose(DESCRIBE, context.seed, f"{name}:{event}")
                    yield context.sample(member, [(question, answer)], video, start=start, end=end, id=name)


def _event(time: Any, length: float, what: str) -> tuple[float, float]:
    bounds = array(time, what)
    if len(bounds) != 2:
        raise RowError(f"{what} has {len(bounds)} times, not two")
    start, end = (seconds(bound, f"a time of {what}") for bound in bounds)
    if end > length + _LATE:
        raise RowError(f"{what} ends at {end:g} s; the video lasts {length:g} s")
    end = min(end, length)
    span(start, end)
    return start, end
