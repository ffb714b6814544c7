"""Small plots as inline SVG, for a page without scripts: one row for each of several things."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_LABELS, _WIDTH, _ROW, _SPARE = 240, 560, 24, 180  # of names; of the scale; of a row; behind the scale
COLOURS = ("#4a7fb5", "#e08a3c", "#5fa55a", "#b0579a", "#8a7a66", "#c9b037", "#6f6f6f")
_LIGHT = "#d8d8d8"


@dataclass(frozen=True)
class Row:
    """One row of a plot.

    name: label at the left.
    parts: lengths of bars that stand in a line, or values of marks; None draws nothing.
    text: behind the bars or marks.
    """

    name: str
    parts: Sequence[float | None]
    text: str = ""


def bars(rows: Sequence[Row], legend: Sequence[str] = (), grid: Callable[[float], str] | None = None) -> str:
    """Returns an SVG of horizontal bars from zero, each part of a row in a colour of its own.

    legend: names of the parts. grid: formats the values of vertical lines; None draws no lines.
    """
    most = max((sum(part or 0 for part in row.parts) for row in rows), default=0) or 1
    lines = _lines(most) if grid else []
    most = max([most, *lines])
    body = [_line(_LABELS + _WIDTH * at / most, len(rows), grid(at)) for at in lines if grid]
    for number, row in enumerate(rows):
        x = float(_LABELS)
        top = number * _ROW + 5
        for part, colour in zip(row.parts, COLOURS, strict=False):
            width = _WIDTH * (part or 0) / most
            place = f'x="{x:.1f}" y="{top}" width="{width:.1f}" height="{_ROW - 10}"'
            body.append(f'<rect {place} fill="{colour}"/>')
            x += width
        body += [_name(row.name, number), _text(x + 6, number, row.text)]
    return _svg(body, len(rows), bool(grid)) + _legend(legend)


def marks(
    rows: Sequence[Row],
    legend: Sequence[str],
    write: Callable[[float], str],
    limits: Sequence[float] = (),
    ends: tuple[float, float] | None = None,
) -> str:
    """Returns an SVG of points on a logarithmic scale, each part of a row in a colour of its own.

    legend: names of the parts. write: formats the values of vertical lines. limits: values that get a line of
    their own. ends: values that the scale must reach at least.
    """
    values = [part for row in rows for part in row.parts if part]
    values += [*limits, *(ends or ())]
    if not values:
        return ""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def place(value: float) -> float:
        return _LABELS + _WIDTH * (math.log10(value) - low) / (high - low)

    step = -(-(high - low) // 8)
    body = [_line(place(10.0**n), len(rows), write(10.0**n)) for n in range(low, high + 1, step)]
    body += [_line(place(limit), len(rows), "", "#c0392b") for limit in limits]
    for number, row in enumerate(rows):
        middle = number * _ROW + _ROW / 2
        for part, colour in zip(row.parts, COLOURS, strict=False):
            if part:
                body.append(f'<circle cx="{place(part):.1f}" cy="{middle}" r="5" fill="{colour}"/>')
        body += [_name(row.name, number), _text(_LABELS + _WIDTH + 10, number, row.text)]
    return _svg(body, len(rows), True) + _legend(legend)


def _lines(most: float) -> list[float]:
    """Zero and some round values, to the first at or above `most`."""
    step = 10.0 ** math.floor(math.log10(most / 2))
    step *= next(n for n in (1, 2, 5, 10) if most / (step * n) <= 5)
    return [step * number for number in range(math.ceil(most / step) + 1)]


def _line(x: float, rows: int, text: str, colour: str = _LIGHT) -> str:
    bottom = rows * _ROW
    written = (
        f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#666">{html.escape(text)}</text>'
    )
    return f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{bottom}" stroke="{colour}"/>{written}'


def _name(name: str, row: int) -> str:
    return f'<text x="{_LABELS - 10}" y="{row * _ROW + 16}" text-anchor="end">{html.escape(name)}</text>'


def _text(x: float, row: int, text: str) -> str:
    return f'<text x="{x:.1f}" y="{row * _ROW + 16}" fill="#444">{html.escape(text)}</text>' if text else ""


def _svg(body: Sequence[str], rows: int, scale: bool) -> str:
    width, height = _LABELS + _WIDTH + _SPARE, rows * _ROW + (20 if scale else 4)
    inside = "\n".join(part for part in body if part)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg {size} role="img">\n{inside}\n</svg>\n'


def _legend(words: Sequence[str]) -> str:
    shown = (
        f'<span class="key" style="background:{colour}"></span>{html.escape(word)}'
        for word, colour in zip(words, COLOURS, strict=False)
    )
    return f"<p>{' &ensp; '.join(shown)}</p>\n" if words else ""
