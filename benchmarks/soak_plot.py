"""The plot of benchmarks/soak.py: memory, threads and descriptors, and times, over the minutes of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from g4v._files import write_text

WIDTH, HEIGHT, LEFT, GAP = 640, 150, 70, 50
COLOURS = ("#4a7fb5", "#e08a3c", "#5fa55a", "#b0579a", "#8a7a66", "#c9b037")


def write(path: Path, rounds: list[dict[str, Any]], warm: float) -> None:
    """Writes an SVG. warm: the minute from which growth is measured, which gets a line."""
    if len(rounds) < 2:
        return
    minutes = [line["seconds"] / 60 for line in rounds]
    kinds = sorted({kind for line in rounds for kind, value in line.items() if isinstance(value, dict)})
    panels: list[tuple[str, dict[str, list[float | None]]]] = [
        ("MB", {what.upper(): [line[what] / 1e6 for line in rounds] for what in ("rss", "pss")}),
        ("number", {what: [line[what] for line in rounds] for what in ("threads", "descriptors")}),
    ]
    panels += [
        (f"ms, {q}", {kind: [line.get(kind, {}).get(q) for line in rounds] for kind in kinds})
        for q in ("p50", "p99")
    ]
    body = [
        panel(number * (HEIGHT + GAP) + 20, title, minutes, curves, warm)
        for number, (title, curves) in enumerate(panels)
    ]
    width, height = LEFT + WIDTH + 130, len(panels) * (HEIGHT + GAP) + 10
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    style = "<style>text { font: 12px system-ui, sans-serif; fill: #444 }</style>"
    background = f'<rect width="{width}" height="{height}" fill="white"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    write_text(path, "\n".join([head, style, background, *body, "</svg>\n"]))


def panel(
    top: float, title: str, minutes: list[float], curves: dict[str, list[float | None]], warm: float
) -> str:
    """Curves over the minutes, from zero, with their names at the right."""
    most = max((value or 0 for values in curves.values() for value in values), default=0) or 1
    end, bottom = minutes[-1], top + HEIGHT

    def x(minute: float) -> float:
        return LEFT + WIDTH * minute / end

    body = [
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#d8d8d8"/>',
        f'<line x1="{x(warm):.1f}" y1="{top}" x2="{x(warm):.1f}" y2="{bottom}" stroke="#d8d8d8"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{most:.0f}</text>',
        f'<text x="{LEFT - 6}" y="{top + 26}" text-anchor="end">{title}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{LEFT + WIDTH}" y="{bottom + 15}" text-anchor="end">{end:.0f} min</text>',
    ]
    for number, (name, values) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            f"{x(minute):.1f},{bottom - HEIGHT * value / most:.1f}"
            for minute, value in zip(minutes, values, strict=True)
            if value is not None
        )
        body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = top + 14 + 16 * number
        body.append(f'<text x="{LEFT + WIDTH + 8}" y="{y}" style="fill: {colour}">{name}</text>')
    return "\n".join(body)
