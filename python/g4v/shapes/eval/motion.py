"""From fitted positions, radii and angles to one word for the motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The world moves objects 14 to 40 pixels (of 64), grows or shrinks them by 1.5 to 2.5 and spins them 90 to
# 300 degrees. A clear motion must reach about three quarters of the least amount; "no motion" ends well below
# that; what lies between is unclear and gets no word. Upper limits leave a quarter for measuring from first
# to last frame and for odd drawing.
_MOVES, _MOVES_MOST, _RESTS = 10.0, 50.0, 5.5
_ASIDE = 0.36  # sideways part of a straight motion: tan 20 degrees
_GROWS, _GROWS_MOST, _KEEPS = 1.33, 3.4, 1.24
_SPINS, _STANDS = np.radians(60.0), np.radians(32.0)
_COHERENCE = 0.85  # of the angles around a steady or evenly accelerated spin; random angles rarely exceed 0.8
_ROUGH = 2.6  # pixels: rms distance of the centres from a smooth path
_ROUGH_SIZE = 0.14  # rms relative deviation of the radius


@dataclass
class Motion:
    """The motion of one object, as a word and as measured.

    word: of `MOTIONS`; None where it is unclear, and `why` says so. confidence: 0 to 1. shift: (x, y) in
    pixels of a 64-pixel frame; factor: of the radius; spin: degrees; all from first to last frame. path:
    smoothed x, y and radius, float [T, 3], in pixels of the clip.
    """

    word: str | None
    confidence: float
    shift: tuple[float, float]
    factor: float
    spin: float
    path: np.ndarray
    why: str = ""


def smooth(values: np.ndarray, used: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Parabolas through values [T, K] at the frames marked in used [T]; a straight line for fewer than
    five frames.
    """
    time = np.arange(len(values), dtype=float)
    degree = min(2 if used.sum() >= 5 else 1, max(0, int(used.sum()) - 1))
    out = np.empty_like(values)
    for k in range(values.shape[1]):
        out[:, k] = np.polyval(np.polyfit(time[used], values[used, k], degree, w=weight[used]), time)
    return out


def spin_between(angles: np.ndarray, used: np.ndarray, symmetry: int) -> tuple[float, float]:
    """Turn (radians, first to last frame) and coherence 0..1 of angles [T] known modulo 360/symmetry
    degrees.

    Frames are too far apart to follow a vertex (a star repeats every 72 degrees and turns up to 43 per
    frame), so the steady rate under which all angles agree best is sought; slight acceleration is
    allowed.
    """
    frames = len(angles)
    time = np.arange(frames, dtype=float)[used]
    phase = np.exp(1j * symmetry * angles[used])
    last = max(frames - 1, 1)
    rates = np.linspace(-np.pi / symmetry, np.pi / symmetry, 241)
    bends = np.radians(np.linspace(-28, 28, 15))  # largest lead or lag half way
    bow = 4 * (time / last) * (1 - time / last)
    turned = rates[:, None, None] * time + bends[None, :, None] * bow
    coherence = np.abs(np.mean(phase * np.exp(-1j * symmetry * turned), axis=-1))
    # A bend must earn its place, or noise bends a rest.
    score = coherence - 0.05 * np.abs(bends)[None, :] / bends[-1]
    i, j = np.unravel_index(int(np.argmax(score)), score.shape)
    return float(rates[i] * last), float(coherence[i, j])


def _closeness(value: float, unclear: float, clear: float) -> float:
    """0 at the limit `unclear`, 1 at `clear` and beyond."""
    return float(np.clip((value - unclear) / (clear - unclear), 0.0, 1.0))


def read_motion(
    values: np.ndarray, used: np.ndarray, weight: np.ndarray, symmetry: int, unit: float
) -> Motion:
    """The motion of one object. values: x, y, radius, angle per frame [T, 4] in pixels and radians, used:
    bool [T]; weight: trust per frame [T]; symmetry: 0 for a circle; unit: pixels of this clip per pixel
    of a 64-pixel frame.
    """
    frames = len(values)
    path = smooth(values[:, :3], used, weight)
    shift = (path[-1, :2] - path[0, :2]) / unit
    span = (path[:, :2].max(0) - path[:, :2].min(0)) / unit
    radius = np.maximum(path[:, 2], 1.0)
    factor = float(radius[-1] / radius[0])
    swing = float(radius.max() / radius.min())
    spin, coherence = spin_between(values[:, 3], used, symmetry) if symmetry else (0.0, 1.0)

    def answer(word: str | None, confidence: float, why: str = "") -> Motion:
        measured = (float(shift[0]), float(shift[1]))
        return Motion(word, confidence, measured, factor, float(np.degrees(spin)), path, why)

    if frames < 3 or used.sum() < max(3, (frames + 1) // 2):
        return answer(None, 0.0, "visible in too few frames")
    off = (values[used, :2] - path[used, :2]) / unit
    trust = weight[used] / weight[used].sum()
    rough = float(np.sqrt((trust * (off**2).sum(1)).sum()))
    if rough > _ROUGH:
        return answer(None, 0.0, f"jumps {rough:.1f} pixels off a smooth path")
    rough_size = float(np.sqrt((trust * (values[used, 2] / radius[used] - 1) ** 2).sum()))
    if rough_size > _ROUGH_SIZE:
        return answer(None, 0.0, f"size wavers by {100 * rough_size:.0f}%")

    along, aside = float(np.abs(shift).max()), float(np.abs(shift).min())
    rests, moves = span.max() <= _RESTS, along >= _MOVES
    keeps, grows = swing <= _KEEPS, max(factor, 1 / factor) >= _GROWS
    coherent = coherence >= _COHERENCE
    stands = not symmetry or (coherent and abs(spin) <= _STANDS)
    spins = bool(symmetry) and coherent and abs(spin) >= _SPINS
    calm = min(_closeness(swing, _KEEPS, 1.1), 1.0)
    upright = _closeness(np.degrees(abs(spin)), 32.0, 15.0) if symmetry else 1.0
    quiet = _closeness(float(span.max()), _RESTS, 3.0)
    if moves and keeps and stands:
        if aside > _ASIDE * along:
            return answer(None, 0.0, "moves aslant")
        if along > _MOVES_MOST or span.max() > 1.3 * along:
            return answer(None, 0.0, "moves too far or back again")
        horizontal = abs(shift[0]) >= abs(shift[1])
        word = ("right" if shift[0] > 0 else "left") if horizontal else ("down" if shift[1] > 0 else "up")
        return answer(word, min(_closeness(along, 0.8 * _MOVES, 13.0), max(calm, 0.2), max(upright, 0.2)))
    if grows and rests and stands:
        if max(factor, 1 / factor) > _GROWS_MOST or swing > 1.25 * max(factor, 1 / factor):
            return answer(None, 0.0, "changes size too much or back again")
        sure = min(_closeness(max(factor, 1 / factor), _KEEPS, 1.45), max(quiet, 0.2), max(upright, 0.2))
        return answer("growing" if factor > 1 else "shrinking", sure)
    if spins and rests and keeps:
        turned = _closeness(np.degrees(abs(spin)), 50.0, 80.0)
        return answer("spinning", min(turned, max(quiet, 0.2), max(calm, 0.2)))
    if rests and keeps and stands:
        return answer("still", min(quiet, calm, upright))
    return answer(
        None,
        0.0,
        f"unclear: shift ({shift[0]:.0f}, {shift[1]:.0f}) pixels, "
        f"size factor {factor:.2f} (swing {swing:.2f}), "
        f"turn {np.degrees(spin):.0f} degrees (coherence {coherence:.2f})",
    )
