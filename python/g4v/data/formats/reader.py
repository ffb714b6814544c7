"""`read_samples`: from a file of any of the formats to the stream of samples."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from g4v.data.formats.captions import CAPTION_KEYS, VIDEO_KEYS, read_activitynet, read_msrvtt
from g4v.data.formats.gpt4video import read_gpt4video
from g4v.data.formats.json_file import Document, decoder, read_document
from g4v.data.formats.lines import csv_header, json_value
from g4v.data.formats.opening import file_head
from g4v.data.formats.problems import DataError, Problem, Problems, RowError
from g4v.data.formats.sample import Context, Sample
from g4v.data.formats.toxicity import read_toxicity
from g4v.data.formats.values import short
from g4v.data.formats.videochat import read_videochat
from g4v.data.formats.webvid import COLUMNS, read_webvid
from g4v.errors import ArgumentError
from g4v.model.prompt import PromptTemplate

FORMATS = ("videochat", "webvid", "gpt4video", "msrvtt", "activitynet", "realtoxicityprompts")
_STREAMED = ("webvid", "realtoxicityprompts")
_LOOKED_AT = 50  # rows of a list that tell its format, because the first may be damaged


class SampleReader:
    """The samples of one file. Every iteration reads them from the start; `problems` is about the latest."""

    def __init__(self, context: Context, format: str, document: Document | None) -> None:
        self.format = format
        self.problems = context.problems
        self._context, self._document = context, document

    def __iter__(self) -> Iterator[Sample]:
        self.problems.clear()
        context, document = self._context, self._document
        try:
            if document is None:
                stream = read_webvid if self.format == "webvid" else read_toxicity
                yield from stream(context.path, context)
            elif self.format == "videochat":
                yield from read_videochat(document.rows or [], context)
            elif self.format == "gpt4video":
                yield from read_gpt4video(document, context)
            elif self.format == "msrvtt":
                yield from read_msrvtt(document, context)
            else:
                yield from read_activitynet(document, context)
        except OSError as error:
            raise DataError(Problem(context.path, f"cannot be read: {error.strerror or error}")) from None


def read_samples(
    path: str | os.PathLike[str],
    format: str = "auto",
    split: str = "train",
    video_root: str | os.PathLike[str] | None = None,
    on_error: str = "skip",
    seed: int = 0,
    *,
    template: PromptTemplate | None = None,
    toxicity: tuple[float, float] = (0.5, 1.0),
) -> SampleReader:
    """Opens a data file of the field.

    format: one of `FORMATS`, or "auto". split: for files that hold several (gpt4video, msrvtt).
    video_root: folder of the videos; None takes the folder of the data file. on_error: "skip" leaves bad rows
    out and keeps them in `problems`, "stop" raises at the first. seed: draws the instructions of captions.
    template: whose role labels and tags the texts must fit; None takes the defaults.
    toxicity: least and greatest toxicity of the prompts to read (realtoxicityprompts).

    Raises `DataError` with the file, the line and the reason where the file as a whole cannot be used.
    """
    if format != "auto" and format not in FORMATS:
        raise ArgumentError(f"format must be 'auto' or one of {', '.join(FORMATS)}, not {format!r}")
    if on_error not in ("skip", "stop"):
        raise ArgumentError(f"on_error must be 'skip' or 'stop', not {on_error!r}")
    least, most = toxicity
    if not (math.isfinite(least) and math.isfinite(most) and least <= most):
        raise ArgumentError(f"toxicity must be a least and a greatest number, not {toxicity!r}")
    file = Path(path)
    root = file.parent if video_root is None else Path(video_root)
    context = Context(
        file, root, template or PromptTemplate(turn_end_id=0), split, seed, toxicity, Problems(file, on_error)
    )
    try:
        found, document = _open(file, format)
    except OSError as error:
        raise DataError(Problem(file, f"cannot be read: {error.strerror or error}")) from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(Problem(file, f"cannot be read: {error}")) from None
    return SampleReader(context, found, document)


def _open(path: Path, format: str) -> tuple[str, Document | None]:
    """The format and, of files that are read whole, the content."""
    start = file_head(path)
    if format == "auto" and start[:1] == b"{" and (path.suffix == ".jsonl" or _is_prompt(start)):
        format = "realtoxicityprompts"
    elif format == "webvid" or (format == "auto" and start[:1] not in (b"{", b"[")):
        names = csv_header(path)
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            seen = ", ".join(short(name) for name in names[:10])
            raise DataError(Problem(path, f"is not WebVid: no column {', '.join(missing)}; it has {seen}", 1))
        format = "webvid"
    if format in _STREAMED:
        return format, None
    document = read_document(path)
    if format == "auto":
        format = _detect(path, document)
    elif (format == "videochat") != (document.rows is not None) and format != "msrvtt":
        there = "an object" if document.rows is None else "a list"
        raise DataError(Problem(path, f"is not of format {format}: it is {there}"))
    return format, document


def _is_prompt(line: bytes) -> bool:
    try:
        value = json_value(line.decode("utf-8", "surrogateescape"), decoder().decode)
    except RowError:
        return False
    return isinstance(value, dict) and isinstance(value.get("prompt"), dict)


def _detect(path: Path, document: Document) -> str:
    if document.rows is not None:
        rows = [row.value for row in document.rows[:_LOOKED_AT] if isinstance(row.value, dict)]
        if any("QA" in row for row in rows):
            return "videochat"
        if any(any(k in row for k in VIDEO_KEYS) and any(k in row for k in CAPTION_KEYS) for row in rows):
            return "msrvtt"
        first = ", ".join(short(key) for key in list(rows[0])[:10]) if rows else ""
        seen = f"a list of rows with {first}" if first else f"a list of {len(document.rows)} values"
    else:
        members = document.members
        keys = set(members)
        if keys & {"images", "annotations"} or keys >= {"videos", "sentences"}:
            return "msrvtt"
        values = [member.value for member in list(members.values())[:_LOOKED_AT]]
        if any(isinstance(value, dict) and "timestamps" in value for value in values):
            return "activitynet"
        rows = [row.value for value in values if isinstance(value, list) for row in value[:_LOOKED_AT]]
        if any(isinstance(row, dict) and "instruction" in row for row in rows):
            return "gpt4video"
        seen = f"an object with {', '.join(short(key) for key in list(members)[:10]) or 'no keys'}"
    raise DataError(Problem(path, f"is of no known format: it is {seen}; formats are {', '.join(FORMATS)}"))
