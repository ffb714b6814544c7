"""What a server tells of itself at /metrics, in Prometheus' text format."""

from __future__ import annotations

import math
import re

import aiohttp

_SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?")

Samples = dict[tuple[str, str], float]
"""(name, labels as they are written) -> value."""


def parse(text: str) -> Samples:
    """The samples of a page of metrics; lines that are none are left out."""
    found: Samples = {}
    for line in text.splitlines():
        if match := _SAMPLE.fullmatch(line):
            found[match[1], match[2] or ""] = float(match[3])
    return found


async def read(session: aiohttp.ClientSession, base: str) -> Samples | None:
    """The metrics of the server at `base`; None where they cannot be read."""
    try:
        async with session.get(f"{base}/metrics", timeout=aiohttp.ClientTimeout(total=5)) as response:
            return parse(await response.text()) if response.status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None


def quantile(before: Samples, after: Samples, name: str, share: float) -> float | None:
    """An upper bound of a quantile of what a histogram counted between two readings; None where nothing was.

    share: 0.5 for the median. The bound is the bucket's: infinite where it is the last one.
    """
    counts: dict[float, float] = {}
    for (found, labels), value in after.items():
        if found == f"{name}_bucket":
            edge = float(labels.partition('le="')[2].partition('"')[0])
            counts[edge] = counts.get(edge, 0.0) + value - before.get((found, labels), 0.0)
    total = counts.get(math.inf, 0.0)
    if not total:
        return None
    return next(edge for edge in sorted(counts) if counts[edge] >= share * total)


def mean(before: Samples, after: Samples, name: str) -> float | None:
    """The mean of what a histogram counted between two readings."""
    count = after.get((f"{name}_count", ""), 0.0) - before.get((f"{name}_count", ""), 0.0)
    spent = after.get((f"{name}_sum", ""), 0.0) - before.get((f"{name}_sum", ""), 0.0)
    return spent / count if count else None
