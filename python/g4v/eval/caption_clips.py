"""The clips of a caption file with all their captions, of any format that `read_samples` knows."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from g4v.data.formats import DataError, Problem, Sample, find_video, read_samples
from g4v.data.formats.reader import FORMATS
from g4v.eval.figures import LeftOut

CAPTION_FORMATS = tuple(name for name in FORMATS if name in ("msrvtt", "webvid"))


@dataclass
class CaptionedClip:
    """A clip that is there, and what people wrote about it. first: the row of its first caption."""

    path: Path
    captions: list[str]
    first: Sample


def add_caption_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the caption file, --format and --split."""
    add = parser.add_argument
    add("captions", type=Path, metavar="FILE", help="MSR-VTT (either layout) or a WebVid-style CSV")
    add("--format", choices=("auto", *CAPTION_FORMATS), default="auto", help="default: auto")
    add("--split", default="test", metavar="NAME", help="of a file that holds several (default: test)")


def read_clips(options: argparse.Namespace, left_out: LeftOut) -> list[CaptionedClip]:
    """The first `options.limit` clips that are there. Missing ones, and bad rows, are counted in `left_out`.

    Raises `DataError` where the file cannot be used, or where not one clip is there.
    """
    reader = read_samples(options.captions, options.format, options.split, options.videos, options.on_error)
    if reader.format not in CAPTION_FORMATS:
        reason = (
            f"has {reader.format} rows; captions of whole clips are read from {', '.join(CAPTION_FORMATS)}"
        )
        raise DataError(Problem(options.captions, reason))
    by_path: dict[Path, CaptionedClip] = {}
    for sample in reader:
        path, caption = sample.videos[0], sample.turns[0].answer
        if path is not None and caption is not None:
            by_path.setdefault(path, CaptionedClip(path, [], sample)).captions.append(caption)
    for problem in reader.problems.kept:
        left_out.add("bad rows", str(problem))
    left_out.more["bad rows"] = reader.problems.count - len(reader.problems.kept)
    clips = []
    for clip in list(by_path.values())[: options.limit]:
        found = find_video(clip.path)
        if found is not None:
            clips.append(CaptionedClip(found, clip.captions, clip.first))
            continue
        row = clip.first
        missing = Problem(row.source, f"the clip {clip.path} is missing", row.line, row.row)
        if options.on_error == "stop":
            raise DataError(missing)
        left_out.add("missing clips", str(missing))
    if not clips:
        left_out.warn()
        reason = (
            "names no clip" if not by_path else "not one of its clips is there; name their folder by --videos"
        )
        raise DataError(Problem(options.captions, reason))
    return clips
