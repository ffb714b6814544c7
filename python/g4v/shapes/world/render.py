"""Draws scenes of the shapes world: 8 frames of 64x64 by default, edges anti-aliased.

Colours are families of shades. `render` draws clips as a camera would have them (sensor noise, light
compression, random turn and place); `clean=True` leaves those out: that is what the video generator learns.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g4v.shapes.world.camera import as_filmed
from g4v.shapes.world.foreign import render_foreign
from g4v.shapes.world.outlines import coverage, skull_coverage
from g4v.shapes.world.tracks import Track, gap, sample_track
from g4v.shapes.world.world import BACKGROUNDS, Object, Scene

_Range = tuple[float, float]
_Ranges = tuple[_Range, _Range, _Range]
# (hue in degrees, saturation, value) ranges around the usual RGB value of each name.
_COLOUR_RANGES: dict[str, _Ranges] = {
    "red": ((-8, 8), (0.78, 1.0), (0.72, 1.0)),
    "orange": ((24, 38), (0.85, 1.0), (0.88, 1.0)),
    "yellow": ((52, 63), (0.75, 1.0), (0.85, 1.0)),
    "green": ((105, 140), (0.65, 1.0), (0.48, 0.95)),
    "blue": ((208, 240), (0.70, 1.0), (0.80, 1.0)),
    "purple": ((272, 300), (0.60, 1.0), (0.50, 0.90)),
    "white": ((0, 360), (0.0, 0.06), (0.90, 1.0)),
}
_BACKGROUND_RANGES: dict[str, _Ranges] = {
    "black": ((0, 360), (0.0, 0.3), (0.0, 0.10)),
    "gray": ((0, 360), (0.0, 0.06), (0.36, 0.58)),
    "navy": ((228, 244), (0.80, 1.0), (0.22, 0.48)),
}
# The middle of each range is the clean colour; clean clips stray from it by this part of the range.
_CLEAN_SPREAD = 0.35


def _shade(ranges: _Ranges, rng: np.random.Generator, spread: float) -> NDArray[np.float32]:
    hue, saturation, value = (
        (low + high) / 2 + (high - low) / 2 * spread * rng.uniform(-1, 1) for low, high in ranges
    )
    return np.array(colorsys.hsv_to_rgb(hue / 360 % 1.0, saturation, value), np.float32)


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
    """An object or the unsafe sign as it was drawn. cover: how much of each pixel lies within its outline,
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
    """`render`, and what was drawn where: the objects, then the unsafe sign if there is one. Later things lie
    over earlier ones; a scene without shapes has none.
    """
    if moments is None:
        moments = np.linspace(0, 1, frames, dtype=np.float32) if frames > 1 else np.zeros(1, np.float32)
    frames = len(moments)
    if scene.foreign:
        image = render_foreign(rng, moments, size)
        return as_filmed(image, rng, clean), []
    spread = _CLEAN_SPREAD if clean else 1.0
    background = scene.background or ("black" if clean else BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))])
    image = np.empty((frames, size, size, 3), np.float32)
    image[:] = _shade(_BACKGROUND_RANGES[background], rng, spread)

    small = len(scene.objects) + scene.skull > 1
    tracks = [sample_track(obj, rng, moments, size, small, clean) for obj in scene.objects]
    if scene.skull:
        motion = (
            "still" if rng.random() < 0.4 else str(rng.choice(("left", "right", "up", "down", "growing")))
        )
        sign = sample_track(Object("white", "circle", motion), rng, moments, size, small, clean)
        sign.radius = sign.radius * np.float32(rng.uniform(1.0, 1.4))
        sign.turn[:] = 0
        tracks.append(sign)
    for _ in range(40 if clean else 12):  # keep objects apart where a place can be found
        if len(tracks) < 2 or gap(tracks[0], tracks[1]) > (2 if clean else 0) * size / 64:
            break
        if scene.objects:
            tracks[0] = sample_track(scene.objects[0], rng, moments, size, small, clean)
        if len(scene.objects) > 1:
            tracks[1] = sample_track(scene.objects[1], rng, moments, size, small, clean)
    things = []
    for obj, track in zip(scene.objects, tracks, strict=False):
        cover = coverage(obj.shape, track, size)
        image += cover[..., None] * (_shade(_COLOUR_RANGES[obj.colour], rng, spread) - image)
        things.append(Thing(track, cover))
    if scene.skull:
        bone = _shade(_COLOUR_RANGES["white" if rng.random() < 0.7 else "yellow"], rng, spread)
        cover = skull_coverage(tracks[-1], size)
        image += cover[..., None] * (bone - image)
        things.append(Thing(tracks[-1], cover))
    return as_filmed(image, rng, clean), things
