"""Pictures of no shape that the assistant knows: textures, crowded scenes, patterns and points of light.

Each stands for a statistic of real photographs. Textures have the spectrum of natural pictures, whose
amplitude falls about as one over the frequency (Field, 1987), or less, as that of grass. Scenes are made of
things that hide each other, with sizes after a power law (the dead leaves of Lee, Mumford and Huang, 2001):
these have the edges that a texture lacks. Grounds and stones are the same all over. Patterns repeat, as
bricks and print do, and as films of one texture never do. Weaves are none of these: noise that went through
filters drawn at random, each with statistics of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]  # [side, side, 3], mostly within 0..1


def texture(rng: np.random.Generator, side: int) -> Picture:
    """A random field around 0 with deviation 1, its colours mostly shared by all channels."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf
    falling = frequency ** -rng.uniform(0.1, 1.9)
    planes = []
    for _ in range(4):  # one for brightness, three for colour
        phases = np.exp(2j * np.pi * rng.random(falling.shape))
        plane = np.fft.irfft2(falling * phases, (side, side))
        planes.append(plane / (plane.std() + 1e-9))
    colour = rng.uniform(0.05, 0.7)
    mixed = np.stack([planes[0] + colour * plane for plane in planes[1:]], -1)
    return (mixed / mixed.std()).astype(np.float32)


def blob(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Where a soft, irregular thing lies: [side, side] in 0..1."""
    dy, dx = _from_a_centre(rng, side)
    angle, distance = np.arctan2(dy, dx), np.hypot(dy, dx)
    outline = np.full_like(angle, rng.uniform(0.06, 0.4))
    for wave in range(1, 5):
        outline *= 1 + rng.uniform(0, 0.5 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(0.5 - 0.5 * np.tanh((distance - outline) / rng.uniform(0.008, 0.12)), np.float32)


def _from_a_centre(rng: np.random.Generator, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows [side, 1] and columns [1, side] from a random centre, in sides."""
    centre = np.arange(side, dtype=np.float32) / side - rng.uniform(0.05, 0.95, (2, 1)).astype(np.float32)
    return centre[0][:, None], centre[1][None, :]


def _colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """A colour of things: most are dull, some are not."""
    grey, bright = rng.uniform(0, 1), rng.uniform(0, 1, 3)
    return (grey + rng.beta(1, 2.5) * (bright - grey)).astype(np.float32)


def _surface(rng: np.random.Generator, side: int) -> Picture:
    return _colour(rng) * np.float32(rng.uniform(0.6, 1)) + rng.uniform(0.02, 0.3) * texture(rng, side)


def _things(rng: np.random.Generator, side: int) -> Picture:
    """Up to four soft things before a textured ground."""
    picture = _surface(rng, side)
    for _ in range(int(rng.integers(0, 5))):
        picture += blob(rng, side)[..., None] * (_surface(rng, side) - picture)
    return picture


def _leaves(rng: np.random.Generator, side: int) -> Picture:
    """Many shaded ovals, boards and splinters that hide each other."""
    picture = _surface(rng, side)
    grain = rng.uniform(0, 0.25) * texture(rng, side)
    least, most = rng.uniform(0.02, 0.06), rng.uniform(0.15, 0.5)
    for _ in range(int(rng.integers(15, 90))):
        # Radii with a density that falls with their cube.
        radius = (least**-2 - rng.random() * (least**-2 - most**-2)) ** -0.5
        dy, dx = _from_a_centre(rng, side)
        angle, stretch = rng.uniform(0, np.pi), rng.uniform(1, 4)
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        across = across * stretch + rng.uniform(-0.8, 0.8) * along  # leaning
        oval = rng.random() < 0.5
        away = np.hypot(along, across) if oval else np.maximum(np.abs(along), np.abs(across))
        cover = np.clip((radius - away) * side + 0.5, 0, 1)[..., None]
        light = 1 + rng.uniform(-0.6, 0.6) * along / radius  # from one side
        picture += cover * (_colour(rng) * light[..., None] - picture)
    return picture + grain


def _pattern(rng: np.random.Generator, side: int) -> Picture:
    """Rows of cells: bricks, dots or marks like those of print; each a little different."""
    cells, angle = rng.uniform(4, 30), rng.uniform(-0.3, 0.3) + np.pi / 2 * int(rng.integers(2))
    dy, dx = _from_a_centre(rng, side)
    row = cells * (dy * np.cos(angle) - dx * np.sin(angle))
    column = cells * rng.uniform(0.4, 1) * (dx * np.cos(angle) + dy * np.sin(angle))
    y = np.floor(row).astype(np.int64) % 64
    column = column + rng.uniform(0, 0.6) * (y % 2)
    x = np.floor(column).astype(np.int64) % 64
    in_y, in_x = row % 1, column % 1
    kind = int(rng.integers(3))
    if kind == 0:  # bricks
        cover = np.minimum(np.abs(in_y - 0.5), np.abs(in_x - 0.5)) < rng.uniform(0.38, 0.47)
        cover &= np.maximum(np.abs(in_y - 0.5), np.abs(in_x - 0.5)) < rng.uniform(0.4, 0.48)
    elif kind == 1:  # dots
        size = rng.uniform(0.15, 0.5, (64, 64))
        cover = np.hypot(in_y - 0.5, in_x - 0.5) < size[y, x]
    else:  # marks
        marks = rng.random((64, 64, 5, 4)) < rng.uniform(0.3, 0.6)
        marks[:, :, :, 0] = marks[:, :, 0] = False
        cover = marks[y, x, (in_y * 5).astype(np.int64), (in_x * 4).astype(np.int64)]
        cover &= (rng.random((64, 64)) < 0.85)[y, x]  # gaps between words
    shade = 1 + rng.uniform(0, 0.4) * rng.standard_normal((64, 64)).astype(np.float32)[y, x, None]
    ground, thing = _surface(rng, side), _surface(rng, side)
    return ground + cover[..., None].astype(np.float32) * (thing * shade - ground)


def _lights(rng: np.random.Generator, side: int) -> Picture:
    """Points of light in the dark, few of them large."""
    picture = 0.08 * rng.random() + 0.05 * texture(rng, side)
    for _ in range(int(rng.integers(10, 250))):
        dy, dx = _from_a_centre(rng, side)
        width = rng.uniform(0.003, 0.01) * rng.pareto(1.5) + 0.004
        glow = np.exp(-(dy * dy + dx * dx) / np.float32(2 * min(width, 0.08) ** 2))
        picture += glow[..., None] * (0.3 + 0.7 * _colour(rng))
    return picture


def _ground(rng: np.random.Generator, side: int) -> Picture:
    """One surface from edge to edge, as grass, sand and bark are seen from near."""
    return _colour(rng) * np.float32(rng.uniform(0.5, 1)) + rng.uniform(0.1, 0.4) * texture(rng, side)


def _stones(rng: np.random.Generator, side: int) -> Picture:
    """Stones side by side, with shadows between them: the cells of random points."""
    points = rng.random((int(rng.integers(40, 500)), 2)).astype(np.float32)
    places = (np.indices((side, side)).reshape(2, -1).T / side).astype(np.float32)
    away = np.hypot(*(places[:, None, axis] - points[None, :, axis] for axis in (0, 1)))
    nearest = np.argmin(away, 1)
    first, second = np.partition(away, 1, 1)[:, :2].T
    inside = np.clip((second - first) * np.sqrt(len(points)) * rng.uniform(1.5, 6), 0, 1)[:, None]
    shades = _colour(rng) * rng.uniform(0.4, 1.3, (len(points), 1)).astype(np.float32)
    # Each is lit from one side.
    light = ((places - points[nearest]) @ rng.normal(0, 1, 2).astype(np.float32))[:, None]
    light = 1 + light * np.float32(np.sqrt(len(points)) * rng.uniform(0, 0.6))
    shadow = rng.uniform(0, 0.7)
    cells = shades[nearest] * light * (shadow + (1 - shadow) * inside)
    return cells.reshape(side, side, 3).astype(np.float32) + rng.uniform(0, 0.15) * texture(rng, side)


def _weave(rng: np.random.Generator, side: int) -> Picture:
    """Noise that went through random filters and curves, one to three times: grain, fur, weave, marble."""
    planes: NDArray[Any] = rng.standard_normal((int(rng.integers(1, 4)), side, side)).astype(np.float32)
    for _ in range(int(rng.integers(1, 4))):
        bent = [_bend(rng, _filter(rng, plane)) for plane in planes]
        planes = np.stack([(plane - plane.mean()) / (plane.std() + 1e-9) for plane in bent])
        mixing = rng.normal(0, 1, (len(planes), len(planes))) + 2 * np.eye(len(planes))
        planes = np.tensordot(mixing, planes, 1)
    # How much a plane changes all channels alike, and each of them.
    colours = rng.normal(0, 1, (1, len(planes))) + rng.uniform(0, 0.7) * rng.normal(0, 1, (3, len(planes)))
    picture = np.moveaxis(np.tensordot(colours, planes, 1), 0, -1)
    picture *= rng.uniform(0.08, 0.45) / (picture.std() + 1e-9)
    return (_colour(rng) + picture).astype(np.float32)


def _filter(rng: np.random.Generator, plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """The part of a plane [side, side] in a band of frequencies around a direction, of deviation 1."""
    side = len(plane)
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    angle = rng.uniform(0, np.pi)
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    middle = rng.uniform(0, 0.3) if rng.random() < 0.6 else 0.0
    width = 0.25 / rng.uniform(0.5, 4)
    narrow = 0.5 * width / rng.uniform(0.15, 1)
    band = np.exp(-((np.abs(along) - middle) ** 2) / (2 * width**2) - across**2 / (2 * narrow**2))
    found = np.fft.irfft2(np.fft.rfft2(plane) * band, plane.shape)
    return np.asarray(found / (found.std() + 1e-9), np.float32)


def _bend(rng: np.random.Generator, plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """The plane through a curve: ridges, blots, valleys or rings, or none."""
    match int(rng.integers(5)):
        case 0:
            return np.abs(plane)
        case 1:
            return np.tanh(3 * (plane - np.float32(rng.uniform(-1, 1))))
        case 2:
            return np.maximum(plane, np.float32(rng.uniform(-0.5, 1)))
        case 3:
            return np.sin(plane * np.float32(rng.uniform(1, 5)))
        case _:
            return plane


_KINDS: tuple[tuple[Callable[[np.random.Generator, int], Picture], float], ...] = (
    (_things, 0.17),
    (_leaves, 0.17),
    (_pattern, 0.12),
    (_lights, 0.05),
    (_ground, 0.11),
    (_stones, 0.12),
    (_weave, 0.26),
)


def photograph(rng: np.random.Generator, side: int) -> Picture:
    """A picture of one of the kinds, sometimes two of them together, lit and developed at random."""
    makers, shares = zip(*_KINDS, strict=True)
    pick = rng.choice(len(makers), 2, p=shares)
    picture = makers[pick[0]](rng, side)
    if rng.random() < 0.3:  # a second picture behind or before the first
        picture += blob(rng, side)[..., None] * (makers[pick[1]](rng, side) - picture)
    if rng.random() < 0.3:  # black and white, or faded
        grey = picture.mean(-1, keepdims=True)
        picture = grey * rng.uniform(0.9, 1.1, 3) + rng.uniform(0, 0.15) * (picture - grey)
    if rng.random() < 0.2:  # seen through a hole, or lit in the middle
        picture = picture * (rng.uniform(0, 0.5) + blob(rng, side)[..., None])
    contrast, light = rng.uniform(0.5, 2.0), rng.uniform(-0.2, 0.2)
    return np.clip((picture - 0.5) * contrast + 0.5 + light, 0, 1).astype(np.float32)
