"""Which of the videos of a data file are there. Reading the data file itself opens none of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from g4v.data.formats.problems import Problem
from g4v.data.formats.sample import Sample

_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")  # ActivityNet and MSVD come in several


def find_video(path: Path) -> Path | None:
    """The file, or one of the same name with another suffix of a video; None where there is neither."""
    candidates = [path] + [path.with_suffix(suffix) for suffix in _SUFFIXES if suffix != path.suffix]
    for candidate in candidates:
        try:
            if candidate.is_file():
                return candidate
        except OSError:  # a name that is too long for the file system, a folder that may not be read
            continue
    return None


def missing_videos(samples: Iterable[Sample], decode: bool = False) -> Iterator[Problem]:
    """One problem for each video file that is not there, at the first row that names it.

    decode: also opens every file, and reports those of which not one frame decodes.
    """
    checked: set[Path] = set()
    for sample in samples:
        for video in sample.videos:
            if video is None or video in checked:
                continue
            checked.add(video)
            found = find_video(video)
            reason = f"the video {video} is missing" if found is None else _fault(found) if decode else None
            if reason:
                yield Problem(sample.source, reason, sample.line, sample.row)


def _fault(path: Path) -> str | None:
    from g4v.errors import VideoError
    from g4v.video import read_video

    try:
        read_video(path, 1)
    except VideoError as error:
        return f"the video {path} cannot be read: {error}"
    return None
