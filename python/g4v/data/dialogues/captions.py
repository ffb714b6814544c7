"""Reads captions: WebVid-style CSV, JSONL, or one caption a line."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from g4v.data.text_lines import read_lines
from g4v.errors import ArgumentError

LONGEST = 400  # characters; what is longer is an article, not a caption
_SHORTEST = 3
_ROLE = re.compile(r"\b(Human|Assistant|AI)\s*:")


@dataclass(frozen=True)
class Caption:
    """One caption. `id` names it in the result; `video` is the clip's path where one is known."""

    text: str
    id: str
    video: str | None = None


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its line number (from 1) and why."""

    line: int
    reason: str


@dataclass
class Captions:
    """What a file held: usable captions in its order, bad rows, and how many captions came again."""

    captions: list[Caption] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    repeated: int = 0


class _Row(Exception):
    """Why a row cannot be used."""


def read_captions(
    path: Path, videos: Path | None = None, limit: int | None = None, stop: bool = False
) -> Captions:
    """Reads a file by its ending: .csv (column `name`; `videoid` and `page_dir` where present), .jsonl
    (objects with `caption`, optionally `video` and `id`), else plain text.

    videos: folder of the clips; only clips that are there are kept, as paths relative to it. Without it
        the `video` of a JSONL row is taken as it stands.
    limit: stop after so many captions. stop: ArgumentError at the first bad row, else it is listed.
    """
    rows = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows}.get(
        path.suffix.lower(), _text_rows
    )
    result = Captions()
    seen: set[str] = set()
    for line, row in rows(path):
        if limit is not None and len(result.captions) >= limit:
            break
        try:
            if isinstance(row, str):
                raise _Row(row)
            caption = _caption(row, videos)
        except _Row as error:
            if stop:
                raise ArgumentError(f"{path.name} line {line}: {error}") from None
            result.bad.append(BadRow(line, str(error)))
            continue
        if caption.text.casefold() in seen:
            result.repeated += 1
            continue
        seen.add(caption.text.casefold())
        result.captions.append(caption)
    if not result.captions:
        why = f"; line {result.bad[0].line}: {result.bad[0].reason}" if result.bad else ""
        raise ArgumentError(f"{path.name} has no usable caption{why}")
    return result


def clean(value: object) -> str:
    """A caption that can stand between tags: white space runs are one space. _Row says why it cannot."""
    if not isinstance(value, str):
        raise _Row("the caption is missing or no text")
    text = " ".join(value.split())
    if not _SHORTEST <= len(text) <= LONGEST:
        raise _Row(f"the caption has {len(text)} characters, not {_SHORTEST} to {LONGEST}")
    if "<" in text or ">" in text:
        raise _Row("the caption has angle brackets, which would read as tags")
    if _ROLE.search(text):
        raise _Row("the caption has a role label such as 'Human:'")
    if not all(char.isprintable() for char in text) or "\ufffd" in text:
        raise _Row("the caption has characters that cannot be printed")
    return text


def _caption(row: dict[str, object], videos: Path | None) -> Caption:
    text = clean(row.get("caption"))
    video = row.get("video")
    if row.get("webvid") and videos is None:
        # Without the folder of the clips nobody can tell whether there is one: WebVid is no longer given out.
        video = None
    if video is not None:
        if not isinstance(video, str) or not video:
            raise _Row("the video is no path")
        if videos is not None:
            pure = PurePosixPath(video)
            if pure.is_absolute() or ".." in pure.parts:
                raise _Row("the video's path leaves the folder of the videos")
            video = video if (videos / pure).is_file() else None
    name = row.get("id")
    if not isinstance(name, (str, int)) or isinstance(name, bool) or not str(name).strip():
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Caption(text, str(name).strip()[:100], video)


def _text_rows(path: Path) -> Iterator[tuple[int, dict[str, object] | str]]:
    for number, line in read_lines(path):
        if line is None:
            yield number, "not UTF-8 text, or too long"
        elif line.strip():
            yield number, {"caption": line}


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, object] | str]]:
    for number, line in read_lines(path):
        if line is None:
            yield number, "not UTF-8 text, or too long"
        elif line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                yield number, "not JSON"
                continue
            yield number, row if isinstance(row, dict) else "not an object"


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, object] | str]]:
    broken: list[int] = []

    def lines() -> Iterator[str]:
        for number, line in read_lines(path):
            if line is None or "\0" in line:
                broken.append(number)
            else:
                yield line + "\n"

    reader = csv.reader(lines())
    header = [name.strip().lower() for name in next(reader, [])]
    if "name" not in header and "caption" not in header:
        raise ArgumentError(f"{path.name} has no column 'name'; its columns: {', '.join(header) or 'none'}")
    while True:
        try:
            values = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            yield reader.line_num + len(broken), f"not CSV: {error}"
            continue
        line = reader.line_num + len(broken)
        if not values:
            continue
        if len(values) != len(header):
            yield line, f"{len(values)} columns, not {len(header)}"
            continue
        row: dict[str, object] = dict(zip(header, values, strict=True))
        row["caption"] = row.get("name", row.get("caption"))
        if row.get("videoid"):
            row["id"] = row["videoid"]
            row["webvid"] = True
            row["video"] = f"videos/{row.get('page_dir') or '.'}/{row['videoid']}.mp4"
        yield line, row
    for number in broken:
        yield number, "not UTF-8 text, a NUL byte, or too long"
