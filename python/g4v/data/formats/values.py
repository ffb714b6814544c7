"""Typed access to the values of rows of unknown origin; all raise `RowError`."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from g4v.data.formats.json_file import DoubledKeys, Row
from g4v.data.formats.problems import RowError

MAX_TEXT = 100_000
"""Characters of one text; dialogues of the field have a few thousand."""
MAX_SECONDS = 1e7
_MAX_NAME = 1024
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,4}):(\d{1,2}(?:\.\d+)?)", re.ASCII)
_ISO = re.compile(r"PT(?=\d)(?:(\d{1,4})H)?(?:(\d{1,4})M)?(?:(\d{1,4}(?:\.\d+)?)S)?", re.ASCII)
_VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".gif")


def record(value: Any, what: str) -> dict[str, Any]:
    """An object without doubled keys."""
    if not isinstance(value, dict):
        raise RowError(f"{what} is {kind(value)}, not an object")
    if isinstance(value, DoubledKeys):
        raise RowError(f"{what} has the key {short(value.doubled)} twice")
    return value


def array(value: Any, what: str) -> list[Any]:
    """The items of a list. Raises `RowError` for another value."""
    if not isinstance(value, list):
        raise RowError(f"{what} is {kind(value)}, not a list")
    return [item.value if isinstance(item, Row) else item for item in value]


def need(row: dict[str, Any], key: str) -> Any:
    """The value of a key. Raises `RowError` where it is missing."""
    if key not in row:
        raise RowError(f"'{key}' is missing")
    return row[key]


def text(value: Any, what: str, empty: bool = False) -> str:
    """A text that can be stored as UTF-8, without white space around it and with "\\n" as its line end."""
    if not isinstance(value, str):
        raise RowError(f"{what} is {kind(value)}, not a text")
    if len(value) > MAX_TEXT:
        raise RowError(f"{what} is {len(value):,} characters long; the limit is {MAX_TEXT:,}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise RowError(f"{what} is not valid UTF-8") from None
    if "\0" in value:
        raise RowError(f"{what} contains a NUL character")
    value = value.replace("\r\n", "\n").strip()
    if not value and not empty:
        raise RowError(f"{what} is empty")
    return value


def line_of(value: Any, what: str) -> str:
    """A text brought to one line."""
    return " ".join(text(value, what).split())


def identity(value: Any, what: str) -> str:
    """An id, written as a text or an integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    found = text(value, what)
    if any(sign < " " for sign in found):
        raise RowError(f"{what} is {short(found)}, which has control characters")
    if len(found) > _MAX_NAME:
        raise RowError(f"{what} is {len(found):,} characters long; the limit is {_MAX_NAME:,}")
    return found


def number(value: Any, what: str) -> float:
    """A finite number. Raises `RowError` for another value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RowError(f"{what} is {kind(value)}, not a number")
    found = float(value)
    if not math.isfinite(found):
        raise RowError(f"{what} is {found}, not a finite number")
    return found


def seconds(value: Any, what: str) -> float:
    """A time: seconds as a number or text, "H:MM:SS", "MM:SS" or WebVid's "PT00H00M15S"."""
    if isinstance(value, str):
        written = value.strip()
        clock = _CLOCK.fullmatch(written) or _ISO.fullmatch(written)
        if clock:
            hours, minutes, rest = (float(part or 0) for part in clock.groups())
            value = 3600 * hours + 60 * minutes + rest
        else:
            try:
                value = float(written)
            except ValueError:
                raise RowError(f"{what} is {short(written)}, not a time") from None
    found = number(value, what)
    if found < 0:
        raise RowError(f"{what} is {found:g}; a time is not negative")
    if found > MAX_SECONDS:
        raise RowError(f"{what} is {found:g} seconds; the limit is {MAX_SECONDS:g}")
    return found


def span(start: float | None, end: float | None) -> tuple[float | None, float | None]:
    """Start and end of a clip in seconds, checked. Raises `RowError` where the end is not after the start."""
    if end is not None and end <= (start or 0.0):
        raise RowError(f"the clip ends at {end:g} s, which is not after its start at {start or 0.0:g} s")
    return start, end


def video_path(root: Path, value: Any, what: str, absolute: bool = True) -> Path:
    """A path as it stands in a row: below `root`, or absolute where it says so."""
    name = identity(value, what)
    path = Path(name)
    if ".." in path.parts or (path.is_absolute() and not absolute):
        raise RowError(f"{what} is {short(name)}, which leaves the folder of the videos")
    return root / path


def video_of_id(root: Path, name: str, what: str) -> Path:
    """The clip of an id: ROOT/ID.mp4, or ROOT/ID where the id names a video file."""
    if "/" in name or "\\" in name or name in (".", ".."):
        raise RowError(f"{what} is {short(name)}, which cannot be a file name")
    return root / (name if name.lower().endswith(_VIDEO_SUFFIXES) else name + ".mp4")


def kind(value: Any) -> str:
    """What a JSON value is, in words for a message."""
    if value is None:
        return "null"
    names = {bool: "true or false", str: "a text", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")


def short(value: str) -> str:
    """A quoted excerpt that stands on one line, whatever is in it."""
    return ascii(value if len(value) <= 40 else value[:37] + "...")
