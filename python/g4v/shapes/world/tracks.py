"""Where the objects of a scene are in each frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g4v.shapes.world.world import Object

# Clean clips show their motion as a film would: one object passes through the middle, and its way is long.
# What moves left then begins on the right: the place of an object in a frame speaks of its motion.
_CLEAN_MIDDLE = 8.0  # pixels of 64


@dataclass
class Track:
    """Where an object is in each frame: centre and radius in pixels, turn in radians; each [T]."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    radius: NDArray[np.float32]
    turn: NDArray[np.float32]


def sample_track(
    obj: Object, rng: np.random.Generator, moments: NDArray[np.float32], size: int, small: bool, clean: bool
) -> Track:
    """A random way of the object.

    moments: when each frame is taken, 0 to 1, [T]. size: pixels of the square frame. small: leave room for
    another thing. clean: as `render` has it.
    """
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


def gap(first: Track, second: Track) -> float:
    """The least distance in pixels between the rims of two things in all frames; negative where they meet."""
    distance = np.hypot(first.x - second.x, first.y - second.y)
    return float((distance - first.radius - second.radius).min())
