"""Clips of anything but shapes, as films from elsewhere are: textures, gradients and soft things in motion.

They are there so that the assistant learns to say that it sees no shape it knows, in place of guessing. The
textures have the spectrum of natural pictures, whose amplitude falls about as one over the frequency (Field,
1987), and colours that are mostly shared by all channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _texture(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """A random picture [side, side, 3] around 0 with deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    falling = frequency ** -rng.uniform(0.7, 1.9)
    planes = []
    for _ in range(4):  # one for brightness, three for colour
        phases = np.exp(2j * np.pi * rng.random(falling.shape))
        plane = np.fft.irfft2(falling * phases, (side, side))
        planes.append(plane / (plane.std() + 1e-9))
    colour = rng.uniform(0.05, 0.7)
    mixed = np.stack([planes[0] + colour * plane for plane in planes[1:]], -1)
    return (mixed / mixed.std()).astype(np.float32)


def _blob(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Where a soft, irregular thing lies: [side, side] in 0..1."""
    centre = np.arange(side, dtype=np.float32) / side - rng.uniform(0.1, 0.9, (2, 1)).astype(np.float32)
    dy, dx = centre[0][:, None], centre[1][None, :]
    angle, distance = np.arctan2(dy, dx), np.hypot(dy, dx)
    outline = np.full_like(angle, rng.uniform(0.06, 0.4))
    for wave in range(1, 5):
        outline *= 1 + rng.uniform(0, 0.5 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    return 0.5 - 0.5 * np.tanh((distance - outline) / rng.uniform(0.008, 0.12))


def render_foreign(
    rng: np.random.Generator, moments: NDArray[np.float32], size: int = 64
) -> NDArray[np.float32]:
    """One clip, float32 [T, size, size, 3] in 0..1; moments: when each frame is taken, 0 to 1."""
    side = 2 * size
    ground = rng.uniform(0.1, 0.8, 3) * rng.uniform(0.6, 1.0)
    picture = ground.astype(np.float32) + rng.uniform(0.02, 0.25) * _texture(rng, side)
    for _ in range(int(rng.integers(0, 5))):
        inside = _blob(rng, side)[..., None]
        thing = rng.uniform(0, 1, 3).astype(np.float32) * rng.uniform(0.3, 1.0)
        picture += inside * (thing + rng.uniform(0, 0.2) * _texture(rng, side) - picture)
    # The camera pans and zooms over the picture, or stands still.
    speed = 0.0 if rng.random() < 0.2 else rng.uniform(0, 0.5)
    direction = rng.uniform(0, 2 * np.pi)
    zoom = rng.uniform(0.6, 1.0) * (1 + rng.uniform(-0.3, 0.3) * moments)
    frames = []
    for moment, scale in zip(moments - moments.mean(), zoom, strict=True):
        steps = (np.arange(size) / size - 0.5) * scale * size
        rows = side / 2 + np.sin(direction) * speed * moment * size + steps
        columns = side / 2 + np.cos(direction) * speed * moment * size + steps
        low_rows, low_columns = (np.clip(v, 0, side - 2).astype(np.int64) for v in (rows, columns))
        part_rows = np.clip(rows - low_rows, 0, 1)[:, None, None]
        part_columns = np.clip(columns - low_columns, 0, 1)[None, :, None]
        above, below = picture[low_rows], picture[low_rows + 1]
        blended = above * (1 - part_rows) + below * part_rows
        left, right = blended[:, low_columns], blended[:, low_columns + 1]
        frames.append(left * (1 - part_columns) + right * part_columns)
    return np.clip(np.stack(frames), 0, 1).astype(np.float32)
