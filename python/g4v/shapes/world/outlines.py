"""How much of each pixel a shape or the unsafe sign covers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from g4v.shapes.world.tracks import Track

_CORNERS = {"square": 4, "triangle": 3, "star": 5}
_STAR_INNER = 0.45  # inner radius of the star over its outer radius


def coverage(shape: str, track: Track, size: int) -> NDArray[np.float32]:
    """How much of each pixel the shape covers, [T, size, size] in 0..1.

    Every shape is symmetric under turns and mirrors, so a pixel's angle is folded into one wedge, where the
    outline is a single straight edge; the distance to that edge, in pixels, gives the anti-aliased coverage.
    """
    centre = np.arange(size, dtype=np.float32) + 0.5
    dx = centre[None, None, :] - track.x[:, None, None]
    dy = centre[None, :, None] - track.y[:, None, None]
    radius = track.radius[:, None, None]
    distance = np.sqrt(dx * dx + dy * dy)
    if shape == "circle":
        return np.clip(radius - distance + 0.5, 0, 1)
    corners = _CORNERS[shape]
    wedge = np.float32(np.pi / corners)
    # Angle from the upward axis: an unturned shape stands on its base, one corner (or a flat side) up.
    offset = wedge if shape == "square" else np.float32(0)
    angle = np.arctan2(dx, -dy) - track.turn[:, None, None] + offset
    angle = np.abs(np.mod(angle + wedge, 2 * wedge) - wedge)  # 0 at a corner, wedge halfway to the next
    along, across = distance * np.cos(angle), distance * np.sin(angle)
    if shape == "star":
        inner_x, inner_y = _STAR_INNER * np.cos(wedge), _STAR_INNER * np.sin(wedge)
        normal = np.array([inner_y, 1 - inner_x]) / np.hypot(inner_y, 1 - inner_x)
        edge = (radius - along) * np.float32(normal[0]) - across * np.float32(normal[1])
    else:
        edge = radius * np.cos(wedge) - (along * np.cos(wedge) + across * np.sin(wedge))
    return np.clip(edge + 0.5, 0, 1)


def skull_coverage(track: Track, size: int) -> NDArray[np.float32]:
    """The sign for unsafe clips: a skull with eyes, nose and teeth over crossed bones, [T, size, size]."""
    centre = np.arange(size, dtype=np.float32) + 0.5
    radius = track.radius[:, None, None]
    x = (centre[None, None, :] - track.x[:, None, None]) / radius
    y = (centre[None, :, None] - track.y[:, None, None]) / radius

    def soft(inside: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.clip(inside * radius + 0.5, 0, 1)

    head = soft(0.72 - np.hypot(x, (y + 0.28) * 1.05))
    jaw = np.minimum(soft(0.40 - np.abs(x)), soft(0.30 - np.abs(y - 0.42)))
    holes = np.maximum(soft(0.21 - np.hypot(np.abs(x) - 0.30, y + 0.22)), soft(0.11 - np.hypot(x, y - 0.08)))
    teeth = np.minimum(soft(0.045 - np.abs(np.abs(x) - 0.14)), soft(0.22 - np.abs(y - 0.55)))
    skull = np.maximum(head, jaw) * (1 - np.maximum(holes, teeth))
    bones = np.zeros_like(skull)
    for slope in (-1, 1):
        along, across = (x + slope * (y - 0.55)) / np.sqrt(2), (y - 0.55 - slope * x) / np.sqrt(2)
        bar = np.minimum(soft(0.10 - np.abs(across)), soft(1.0 - np.abs(along)))
        knobs = soft(0.17 - np.hypot(np.abs(along) - 1.0, np.abs(across) - 0.10))
        bones = np.maximum(bones, np.maximum(bar, knobs))
    around = np.maximum(
        soft(0.80 - np.hypot(x, (y + 0.28) * 1.05)),
        np.minimum(soft(0.48 - np.abs(x)), soft(0.38 - np.abs(y - 0.42))),
    )
    return np.maximum(skull, bones * (1 - around))
