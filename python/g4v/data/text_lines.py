"""Lines of text files that may hold anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from g4v.errors import ArgumentError

_LONGEST_LINE = 1 << 20  # bytes; a longer one is no row of captions


def read_lines(path: Path) -> Iterator[tuple[int, str | None]]:
    """(line number from 1, text without its end); None for a line that is not UTF-8 or above 1 MiB.

    ArgumentError where the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(raw) > _LONGEST_LINE:
                    while raw and not raw.endswith(b"\n"):
                        raw = file.readline(_LONGEST_LINE)
                    yield number, None
                    continue
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    yield number, None
                    continue
                yield number, text.rstrip("\r\n")
    except OSError as error:
        raise ArgumentError(f"{path} cannot be read: {error.strerror}") from None
