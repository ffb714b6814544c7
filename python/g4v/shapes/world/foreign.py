"""Clips of anything but shapes, as films from elsewhere are.

They are there so that the assistant learns to say that it sees no shape it knows, in place of guessing: a
camera goes over a picture, in which something may move, and sometimes the film cuts to another picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from g4v.shapes.world.pictures import Picture, blob, photograph

_CUT = 0.12  # share of the clips that show two pictures, one after the other
_MOVER = 0.35  # share of the shots in which something moves by itself


def _shot(rng: np.random.Generator, moments: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """One take, float32 [T, size, size, 3] in 0..1: the camera pans, zooms and shakes, or stands still."""
    side = 2 * size
    picture = photograph(rng, side)
    direction, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    shake, zooming = rng.choice((0.0, 0.01)), rng.uniform(-0.3, 0.3)
    if rng.random() < 0.2:
        speed = shake = zooming = 0.0
    zoom = rng.uniform(0.6, 1.0) * (1 + zooming * moments)
    mover = _mover(rng, side) if rng.random() < _MOVER else None
    frames = []
    for moment, scale in zip(moments - moments.mean(), zoom, strict=True):
        shown = picture
        if mover:
            thing, cover, way = mover
            place = tuple(int(step) for step in np.rint(way * moment * side))
            shown = picture + np.roll(cover, place, (0, 1)) * (np.roll(thing, place, (0, 1)) - picture)
        centre = 0.5 + np.array([np.sin(direction), np.cos(direction)]) * speed * moment / 2
        frames.append(_crop(shown, centre + rng.normal(0, 1, 2) * shake, scale, size))
    return np.stack(frames)


def _mover(rng: np.random.Generator, side: int) -> tuple[Picture, NDArray[np.float32], NDArray[np.float64]]:
    """Something before the picture: how it looks, where it is [side, side, 1] and how many sides it goes."""
    return photograph(rng, side), blob(rng, side)[..., None], rng.uniform(-0.5, 0.5, 2)


def _crop(picture: Picture, centre: NDArray[np.float64], scale: float, size: int) -> NDArray[np.float32]:
    """What a camera sees: size / side times `scale` of the picture around `centre` (in sides, row and
    column), by linear interpolation.
    """
    side = len(picture)
    steps = (np.arange(size) / size - 0.5) * scale * size
    rows, columns = (side * middle + steps for middle in centre)
    low_rows, low_columns = (np.clip(v, 0, side - 2).astype(np.int64) for v in (rows, columns))
    part_rows = np.clip(rows - low_rows, 0, 1)[:, None, None]
    part_columns = np.clip(columns - low_columns, 0, 1)[None, :, None]
    blended = picture[low_rows] * (1 - part_rows) + picture[low_rows + 1] * part_rows
    seen = blended[:, low_columns] * (1 - part_columns) + blended[:, low_columns + 1] * part_columns
    return np.asarray(seen, np.float32)


def render_foreign(
    rng: np.random.Generator, moments: NDArray[np.float32], size: int = 64
) -> NDArray[np.float32]:
    """One clip, float32 [T, size, size, 3] in 0..1; moments: when each frame is taken, 0 to 1."""
    film = _shot(rng, moments, size)
    if len(moments) > 1 and rng.random() < _CUT:
        cut = int(rng.integers(1, len(moments)))
        film[cut:] = _shot(rng, moments, size)[cut:]
    return np.clip(film, 0, 1)
