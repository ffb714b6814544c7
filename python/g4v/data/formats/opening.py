"""The look at a data file before it is parsed: is it there, and is it text at all?"""

from __future__ import annotations

from pathlib import Path

from g4v.data.formats.lines import MAX_LINE
from g4v.data.formats.problems import DataError, Problem

_BOM = b"\xef\xbb\xbf"
_MAGIC = {
    b"\x1f\x8b": "is compressed with gzip; unpack it first",
    b"PK\x03\x04": "is a ZIP archive; unpack it first",
    b"PAR1": "is a Parquet file; convert it to JSON or CSV first",
    b"\xff\xfe": "is UTF-16; store it as UTF-8",
    b"\xfe\xff": "is UTF-16; store it as UTF-8",
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself; run 'git lfs pull'",
}


def file_head(path: Path) -> bytes:
    """The first line that is not empty, without byte order mark and white space around it.

    Raises `DataError` where the file is missing, empty, or compressed or binary in a way that can be named.
    """
    if not path.exists():
        raise DataError(Problem(path, "does not exist"))
    if not path.is_file():
        raise DataError(Problem(path, "is not a file"))
    with path.open("rb") as file:
        head = file.readline(MAX_LINE)
        while head and not head.removeprefix(_BOM).strip() and len(head) < MAX_LINE:
            head = file.readline(MAX_LINE)
    for magic, reason in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(Problem(path, reason))
    start = head.removeprefix(_BOM).strip()
    if not start:
        raise DataError(Problem(path, "is empty"))
    return start
