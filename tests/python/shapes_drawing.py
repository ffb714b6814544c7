"""A second renderer of the shapes world, for tests: Pillow polygons drawn large and scaled down.

It shares nothing with g4v's renderer and draws what design pages say in words, so that what reads these
clips has learned the world and not one renderer's habits.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SHADES = {
    "red": (220, 30, 30),
    "green": (40, 170, 60),
    "blue": (40, 80, 230),
    "yellow": (240, 220, 40),
    "purple": (150, 50, 190),
    "orange": (245, 140, 25),
    "white": (245, 245, 245),
    "black": (8, 8, 8),
    "gray": (120, 120, 120),
    "navy": (12, 18, 90),
}
_SCALE = 8


@dataclass
class Way:
    """Centre x, y and radius in pixels and turn in degrees (clockwise) for every frame; each a list of
    floats.
    """

    x: list[float]
    y: list[float]
    radius: list[float]
    turn: list[float]


def way(
    motion: str, x: float = 32, y: float = 32, radius: float = 9, amount: float | None = None, frames: int = 8
) -> Way:
    """A steady motion around (x, y). amount: pixels, factor or degrees; a middling one by default."""
    steps = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    usual = {"growing": 1.9, "shrinking": 1.9, "spinning": 170.0, "still": 0.0}
    amount = usual.get(motion, 26.0) if amount is None else amount
    xs, ys, radii, turns = (np.full(frames, value, float) for value in (x, y, radius, 0.0))
    if motion in ("left", "right"):
        xs = x + (steps - 0.5) * amount * (1 if motion == "right" else -1)
    elif motion in ("up", "down"):
        ys = y + (steps - 0.5) * amount * (1 if motion == "down" else -1)
    elif motion in ("growing", "shrinking"):
        radii = radius * (1 + (amount - 1) * (steps if motion == "growing" else 1 - steps))
    elif motion == "spinning":
        turns = steps * amount
    return Way(list(xs), list(ys), list(radii), list(turns))


def outline(shape: str, x: float, y: float, radius: float, turn: float, notch: float = 0.42) -> list:
    """Corner points; the first corner points up, a square stands on its side."""
    corners = {"square": 4, "triangle": 3, "star": 10, "circle": 72, "hexagon": 6}[shape]
    points = []
    for i in range(corners):
        angle = np.radians(turn - 90 + (45 if shape == "square" else 0) + 360 * i / corners)
        reach = radius * (notch if shape == "star" and i % 2 else 1.0)
        points.append((x + reach * np.cos(angle), y + reach * np.sin(angle)))
    return points


def draw(
    things: list[tuple[str, str | tuple[int, int, int], Way]],
    background: str | tuple[int, int, int] = "black",
    size: int = 64,
    notch: float = 0.42,
    blur: float = 0.0,
    noise: float = 0.0,
    jpeg: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """A clip uint8 [T, size, size, 3] of (shape, colour, way) things, the last one in front."""
    rng = np.random.default_rng(seed)
    frames = []
    for t in range(len(things[0][2].x) if things else 8):
        ground = SHADES[background] if isinstance(background, str) else background
        image = Image.new("RGB", (size * _SCALE, size * _SCALE), ground)
        pen = ImageDraw.Draw(image)
        for shape, colour, path in things:
            points = outline(shape, path.x[t], path.y[t], path.radius[t], path.turn[t], notch)
            fill = SHADES[colour] if isinstance(colour, str) else colour
            pen.polygon([(px * _SCALE, py * _SCALE) for px, py in points], fill=fill)
        image = image.resize((size, size), Image.Resampling.BOX)
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur))
        pixels = np.asarray(image).astype(float)
        if noise:
            pixels = pixels + rng.normal(0, noise, pixels.shape)
        image = Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
        if jpeg:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=jpeg)
            image = Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")
        frames.append(np.asarray(image))
    return np.stack(frames)
