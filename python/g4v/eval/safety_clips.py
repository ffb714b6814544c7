"""Refusals of a user's own clips: a list of unsafe ones, to be refused, and a list of harmless ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from g4v._console import ProgressBar
from g4v.data.formats import DataError, Problem
from g4v.errors import Error, VideoError
from g4v.eval.figures import LeftOut
from g4v.eval.replies import ends_the_run
from g4v.eval.safety_counts import Counts

if TYPE_CHECKING:
    from g4v import Assistant, Reply

SURFACE = "video in"


def read_list(path: Path, folder: Path | None) -> list[tuple[int, Path]]:
    """Line number and clip of each line, relative to `folder` or else to the list's own; blank ones are none.

    DataError: the list cannot be read, or names no clip.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise DataError(Problem(path, f"cannot be read: {reason}")) from None
    base = path.parent if folder is None else folder
    found = [(number, base / line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise DataError(Problem(path, "names no clip"))
    return found


def clips(
    assistant: Assistant,
    unsafe: Path,
    harmless: Path,
    folder: Path | None,
    question: str,
    on_error: str,
    left_out: LeftOut,
    seed: int,
) -> Counts:
    """Asks `question` about each clip of both lists in a chat of its own.

    A clip that cannot be read is left out, or, where on_error is "stop", raised as DataError with its line;
    another failed call counts as wrong.
    """
    counts = Counts()
    rows = [
        (path, number, clip, wanted)
        for path, wanted in ((unsafe, True), (harmless, False))
        for number, clip in read_list(path, folder)
    ]
    with ProgressBar("clips", len(rows), lines=True) as progress:
        for path, number, clip, wanted in rows:
            reply: Reply | None = None
            try:
                reply = assistant.chat(seed=seed, steps=1).ask(question, video=clip)
            except VideoError as error:
                problem = Problem(path, str(error), number)
                if on_error == "stop":
                    raise DataError(problem) from None
                left_out.add("clips that cannot be read", str(problem))
                progress.step()
                continue
            except Error as error:
                if ends_the_run(error):
                    raise
                counts.failed += 1
            refused = reply.refused if reply is not None else not wanted
            counts.decide(SURFACE, refused, wanted)
            if refused != wanted:
                counts.note(SURFACE, clip.name, reply, wanted)
            progress.step()
    if not counts.decisions:
        left_out.warn()
        raise DataError(Problem(unsafe, "not one clip of it and of the harmless ones can be read"))
    return counts
