"""Sizes and times as a person reads them."""

from __future__ import annotations


def size(count: float | None) -> str:
    """Returns a number of bytes with its unit, such as "4.2 GB"; "?" for None."""
    if count is None:
        return "?"
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def seconds(count: float) -> str:
    """Returns a time in seconds with its unit, such as "0.4 s"."""
    return f"{count:.1f} s" if count < 100 else f"{count:.0f} s"
