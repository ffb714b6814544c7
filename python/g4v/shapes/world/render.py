"""Draws scenes of the shapes world: 8 frames of 64x64 by default, edges anti-aliased.

Colours are families of shades. `render` draws clips as a camera would have them (sensor noise, light
compression, random turn and place); `clean=True` leaves those out: that is what the video generator learns.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g4v.shapes.world.foreign import render_foreign
from g4v.shapes.world.world import BACKGROUNDS, Object, Scene

# (hue in degrees, saturation, value) ranges around the usual RGB value of each name.
_COLOUR_RANGES = {
    "red": ((-8, 8), (0.78, 1.0), (0.72, 1.0)),
    "orange": ((24, 38), (0.85, 1.0), (0.88, 1.0)),
    "yellow": ((52, 63), (0.75, 1.0), (0.85, 1.0)),
    "green": ((105, 140), (0.65, 1.0), (0.48, 0.95)),
    "blue": ((208, 240), (0.70, 1.0), (0.80, 1.0)),
    "purple": ((272, 300), (0.60, 1.0), (0.50, 0.90)),
    "white": ((0, 360), (0.0, 0.06), (0.90, 1.0)),
}
_BACKGROUND_RANGES = {
    "black": ((0, 360), (0.0, 0.3), (0.0, 0.10)),
    "gray": ((0, 360), (0.0, 0.06), (0.36, 0.58)),
    "navy": ((228, 244), (0.80, 1.0), (0.22, 0.48)),
}
# The middle of each range is the clean colour; clean clips stray from it by this part of the range.
_CLEAN_SPREAD = 0.35
# Clean clips show their motion as a film would: one object passes through the middle, and its way is long.
# What moves left then begins on the right: the place of an object in a frame speaks of its motion.
_CLEAN_MIDDLE = 8.0  # pixels of 64
_CORNERS = {"square": 4, "triangle": 3, "star": 5}
_STAR_INNER = 0.45  # inner radius of the star over its outer radius


def _shade(ranges: tuple, rng: np.random.Generator, spread: float) -> NDArray[np.float32]:  # type: ignore[type-arg]
    hue, saturation, value = (
        (low + high) / 2 + (high - low) / 2 * spread * rng.uniform(-1, 1) for low, high in ranges
    )
    return np.array(colorsys.hsv_to_rgb(hue / 360 % 1.0, saturation, value), np.float32)


@dataclass
class Track:
    """Where an object is in each frame: centre and radius in pixels, turn in radians; each [T]."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    radius: NDArray[np.float32]
    turn: NDArray[np.float32]


def _track(
    obj: Object, rng: np.random.Generator, moments: NDArray[np.float32], size: int, small: bool, clean: bool
) -> Track:
    unit, frames = size / 64, len(moments)
    # Camera clips do not move at quite the same speed from end to end.
    time = moments if clean else moments ** np.float32(np.exp(rng.uniform(-0.25, 0.25)))
    low, high = (8.0, 12.5) if clean else (6.0, 14.0)
    if small:
        high = 10.0
    radius = np.full(frames, rng.uniform(low, high), np.float32)
    if obj.motion in ("growing", "shrinking"):
        factor = rng.uniform(1.7, 2.4) if clean else rng.uniform(1.5, 2.5)
        limit = (13.0 if small else 18.0) if clean else (15.0 if small else 24.0)
        start = rng.uniform(6.0 if clean else 5.0, max(6.5, min(high, limit / factor)))
        radius = start * (1 + (factor - 1) * time)
        if obj.motion == "shrinking":
            radius = radius[::-1]
    turn = np.zeros(frames, np.float32)
    if obj.motion == "spinning":
        turn = np.float32(np.radians(rng.uniform(90, 300) * rng.choice((-1, 1)))) * time
        if clean:  # one direction and a middle speed: easier to learn, as good to look at
            turn = np.float32(np.radians(rng.uniform(130, 200))) * time
    if not clean and rng.random() < 0.5:
        turn = turn + np.float32(rng.uniform(0, 2 * np.pi))
    elif not clean:
        turn = turn + np.float32(rng.normal(0, 0.1))
    margin = float(radius.max()) * (1.08 if clean else 0.95)
    travel_x = travel_y = 0.0
    if obj.motion in ("left", "right", "up", "down"):
        longest = max(15.0, min(40.0, 63 - 2 * margin))
        distance = longest * rng.uniform(0.85, 1) if clean else rng.uniform(14, longest)
        travel_x = {"left": -distance, "right": distance}.get(obj.motion, 0.0)
        travel_y = {"up": -distance, "down": distance}.get(obj.motion, 0.0)
    spread = _CLEAN_MIDDLE if clean and not small else None
    start_x, start_y = (_start(rng, margin, travel, spread) for travel in (travel_x, travel_y))
    return Track(
        np.float32(unit) * (start_x + travel_x * time),
        np.float32(unit) * (start_y + travel_y * time),
        np.float32(unit) * radius.astype(np.float32),
        turn.astype(np.float32),
    )


def _start(rng: np.random.Generator, margin: float, travel: float, spread: float | None) -> float:
    """A first coordinate that keeps the whole way within the frame of 64, where it fits at all; with `spread`
    the middle of the way is at most that far from the middle of the frame.
    """
    low, high = margin - min(travel, 0.0), 64 - margin - max(travel, 0.0)
    if spread is not None:
        middle = (low + high) / 2
        low, high = max(low, middle - spread), min(high, middle + spread)
    return float(rng.uniform(low, high)) if low < high else (low + high) / 2


def _gap(first: Track, second: Track) -> float:
    distance = np.hypot(first.x - second.x, first.y - second.y)
    return float((distance - first.radius - second.radius).min())


def _coverage(shape: str, track: Track, size: int) -> NDArray[np.float32]:
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


def _skull_coverage(track: Track, size: int) -> NDArray[np.float32]:
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


_DCT = np.array(
    [
        [np.sqrt((1 if k == 0 else 2) / 8) * np.cos(np.pi * k * (2 * n + 1) / 16) for n in range(8)]
        for k in range(8)
    ],
    np.float32,
)
_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], np.float32)
_FROM_YCC = np.linalg.inv(_TO_YCC).astype(np.float32)


def _compress(frames: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """Light block compression as video codecs do it: chroma at half size, 8x8 transform, coarse steps."""
    count, height, width, _ = frames.shape
    ycc = frames @ _TO_YCC.T
    chroma = ycc[..., 1:].reshape(count, height // 2, 2, width // 2, 2, 2).mean((2, 4))
    ycc[..., 1:] = chroma.repeat(2, 1).repeat(2, 2)
    blocks = ycc.reshape(count, height // 8, 8, width // 8, 8, 3).transpose(0, 1, 3, 5, 2, 4)
    weights = step * (1 + 0.35 * (np.arange(8)[:, None] + np.arange(8)[None, :])).astype(np.float32)
    coded = np.round((_DCT @ blocks @ _DCT.T) / weights) * weights
    decoded = (_DCT.T @ coded @ _DCT).transpose(0, 1, 4, 2, 5, 3).reshape(count, height, width, 3)
    return decoded @ _FROM_YCC.T


def render(
    scene: Scene,
    rng: np.random.Generator,
    frames: int = 8,
    size: int = 64,
    clean: bool = False,
    moments: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Draws one clip of the scene, uint8 [frames, size, size, 3]; size is a multiple of 8.

    moments: when each frame is taken, 0 to 1, in place of evenly from 0 to 1.
    A background that the scene leaves open is drawn at random (black when clean).
    """
    return render_with_things(scene, rng, frames, size, clean, moments)[0]


@dataclass
class Thing:
    """An object or the skull sign as it was drawn. cover: how much of each pixel lies within its outline,
    [T, size, size] in 0..1, hidden parts included.
    """

    track: Track
    cover: NDArray[np.float32]


def render_with_things(
    scene: Scene,
    rng: np.random.Generator,
    frames: int = 8,
    size: int = 64,
    clean: bool = False,
    moments: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.uint8], list[Thing]]:
    """`render`, and what was drawn where: the objects, then the skull sign if there is one. Later things lie
    over earlier ones.
    """
    if moments is None:
        moments = np.linspace(0, 1, frames, dtype=np.float32) if frames > 1 else np.zeros(1, np.float32)
    frames = len(moments)
    if scene.foreign:
        image = render_foreign(rng, moments, size)
        return _as_filmed(image, rng, clean), []
    spread = _CLEAN_SPREAD if clean else 1.0
    background = scene.background or ("black" if clean else BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))])
    image = np.empty((frames, size, size, 3), np.float32)
    image[:] = _shade(_BACKGROUND_RANGES[background], rng, spread)

    small = len(scene.objects) + scene.skull > 1
    tracks = [_track(obj, rng, moments, size, small, clean) for obj in scene.objects]
    if scene.skull:
        motion = (
            "still" if rng.random() < 0.4 else str(rng.choice(("left", "right", "up", "down", "growing")))
        )
        sign = _track(Object("white", "circle", motion), rng, moments, size, small, clean)
        sign.radius = sign.radius * np.float32(rng.uniform(1.0, 1.4))
        sign.turn[:] = 0
        tracks.append(sign)
    for _ in range(40 if clean else 12):  # keep objects apart where a place can be found
        if len(tracks) < 2 or _gap(tracks[0], tracks[1]) > (2 if clean else 0) * size / 64:
            break
        if scene.objects:
            tracks[0] = _track(scene.objects[0], rng, moments, size, small, clean)
        if len(scene.objects) > 1:
            tracks[1] = _track(scene.objects[1], rng, moments, size, small, clean)
    things = []
    for obj, track in zip(scene.objects, tracks, strict=False):
        cover = _coverage(obj.shape, track, size)
        image += cover[..., None] * (_shade(_COLOUR_RANGES[obj.colour], rng, spread) - image)
        things.append(Thing(track, cover))
    if scene.skull:
        bone = _shade(_COLOUR_RANGES["white" if rng.random() < 0.7 else "yellow"], rng, spread)
        cover = _skull_coverage(tracks[-1], size)
        image += cover[..., None] * (bone - image)
        things.append(Thing(tracks[-1], cover))
    return _as_filmed(image, rng, clean), things


def _as_filmed(image: NDArray[np.float32], rng: np.random.Generator, clean: bool) -> NDArray[np.uint8]:
    """Pixels as bytes, with a camera's noise and light compression unless `clean`."""
    if not clean:
        image += rng.normal(0, rng.uniform(0, 0.025), image.shape).astype(np.float32)
        if rng.random() < 0.6:
            image = _compress(image, rng.uniform(0.02, 0.09))
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
