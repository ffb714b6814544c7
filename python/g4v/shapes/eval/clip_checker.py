"""Reads clips of the shapes world from their pixels and checks them against a scene.

Nothing here comes from the renderer: the clip's background is estimated, colours that stand out are
separated into objects, outlines are fitted to the soft masks by least squares, and words are read off the
fits over all frames. What does not look clearly like one word of the world gets None, so that a doubtful
clip fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from g4v.shapes.eval.colours import background_colour, object_colour
from g4v.shapes.eval.motion import Motion, read_motion
from g4v.shapes.eval.outline_fit import HYPOTHESES, SYMMETRY, OutlineFits, coverage, fit_outlines
from g4v.shapes.eval.segmentation import Layer, Segmentation, components, dilate, segment
from g4v.shapes.world.world import Scene

# Limits, in parts of the object's mass (the sum of its soft mask).
_MISFIT = 0.36  # sqrt(squared error / mass) of a shape that is none of the four; clean clips stay below 0.15
_MARGIN = 1.06  # the runner-up shape must fit worse by this factor
_FLICKER = 0.5  # less than this part of the expected area seen, or more than 1 / this: the object flickers
_COLOUR_DRIFT = 70.0  # RGB distance of a frame's colour from the clip's colour
_BACKGROUND_DRIFT = 24.0
_LEFTOVER = 16  # pixels of an island that no object explains


@dataclass
class ObjectReading:
    """One object; an attribute that is not clear is None, and `why` says what was seen instead.

    confidence: 0..1, the weakest of the three readings. centre, radius: first and last frame, pixels.
    """

    colour: str | None
    shape: str | None
    motion: str | None
    confidence: float
    why: str = ""
    rgb: tuple[int, int, int] = (0, 0, 0)
    centre: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))
    radius: tuple[float, float] = (0.0, 0.0)
    spin: float = 0.0


@dataclass
class Analysis:
    """What a clip shows. background: its colour family or None; objects: the readings, largest first;
    unexplained: what was seen beside the objects, one line each.
    """

    background: str | None
    objects: list[ObjectReading] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)


@dataclass
class CheckResult:
    """Whether a clip shows a scene. ok: every part is right; background_ok is True where the scene names
    none.
    """

    ok: bool
    colour_ok: bool
    shape_ok: bool
    motion_ok: bool
    background_ok: bool
    count_ok: bool
    why: str


def _read_shape(fits: OutlineFits, used: np.ndarray) -> tuple[str | None, int, float, str]:
    """(shape, best hypothesis, confidence, why) from the costs of all frames together."""
    cost = fits.cost[:, used].sum(1)
    best = int(np.argmin(cost))
    shape = HYPOTHESES[best][0]
    rival = min(cost[i] for i, h in enumerate(HYPOTHESES) if h[0] != shape)
    misfit = float(np.sqrt(cost[best] / max(fits.mass[best, used].sum(), 1e-6)))
    ratio = float(rival / max(cost[best], 1e-6))
    if misfit > _MISFIT:
        return None, best, 0.0, f"no clear outline (misfit {misfit:.2f})"
    if ratio < _MARGIN:
        return None, best, 0.0, f"outline between two shapes (ratio {ratio:.2f})"
    # A clip that shows different shapes at different times has frames that another outline fits far better.
    others = [i for i, h in enumerate(HYPOTHESES) if h[0] != shape]
    stray = fits.cost[others][:, used].min(0) * 1.5 < fits.cost[best, used]
    if stray.sum() > max(1, used.sum() // 4):
        return None, best, 0.0, "changes its shape"
    return shape, best, float(np.clip((ratio - _MARGIN) / 0.3, 0, 1)), ""


def _expected(parameters: np.ndarray, path: np.ndarray, hypothesis: int, size: tuple[int, int]) -> np.ndarray:
    """Coverage [T, H, W] of the outline along its smoothed path."""
    height, width = size
    values = parameters.copy()
    values[:, :3] = path
    values[:, 2] = np.maximum(values[:, 2], 1.0)
    values[:, 5] = 1.0
    frames = len(values)
    x = np.broadcast_to(np.arange(width, dtype=float), (frames, width))
    y = np.broadcast_to(np.arange(height, dtype=float), (frames, height))
    cover, _ = coverage(values, np.full(frames, hypothesis), x, y)
    return cover


def _read_colour(
    frames: np.ndarray, layer: Layer, cover: np.ndarray
) -> tuple[str | None, float, np.ndarray, str]:
    """(family, confidence, RGB, why) from pixels well inside the outline."""
    inner = (cover > 0.9) & layer.own
    if inner.sum() < 3 * len(frames):
        inner = (cover > 0.6) & layer.own
    if not inner.any():
        return None, 0.0, layer.colour, "no inner pixels"
    colour = np.median(frames[inner], axis=0)
    for t in range(len(frames)):
        if inner[t].sum() >= 6:
            drift = float(np.linalg.norm(np.median(frames[t][inner[t]], axis=0) - colour))
            if drift > _COLOUR_DRIFT:
                return None, 0.0, colour, f"changes colour in frame {t}"
    family, confidence = object_colour(colour)
    return family, confidence, colour, "" if family else f"colour {tuple(int(v) for v in colour)} has no name"


def _flicker(layer: Layer, cover: np.ndarray) -> str:
    """Says in which frame the object is not where it should be; "" when it always is."""
    visible = (np.clip(cover, 0, 1) * layer.known).sum(axis=(1, 2))
    for t, (seen, expected) in enumerate(zip(layer.area, visible, strict=True)):
        if expected >= 16 and seen < _FLICKER * expected:
            return f"vanishes in frame {t}"
        if seen > 24 and seen * _FLICKER > expected + 8:
            return f"swells in frame {t}"
    return ""


def _read_object(frames: np.ndarray, layer: Layer) -> tuple[ObjectReading, np.ndarray]:
    """Reading of one layer and its expected coverage [T, H, W]."""
    fits, used = fit_outlines(layer.alpha, layer.known, layer.own)
    size = frames.shape[1:3]
    if used.sum() < 2:
        return ObjectReading(None, None, None, 0.0, "hardly visible"), np.zeros(frames.shape[:3])
    shape, best, shape_sure, why_shape = _read_shape(fits, used)
    parameters = fits.parameters[best]
    # A frame where much of the outline is hidden says little about the motion.
    hidden = 1.0 - fits.mass[best] / np.maximum(_expected_mass(parameters, best), 1.0)
    weight = np.where(used, np.clip(1.0 - hidden, 0.05, 1.0) ** 2, 0.0)
    values = parameters[:, :4]
    unit = min(size) / 64.0
    motion: Motion = read_motion(values, used, weight, SYMMETRY[HYPOTHESES[best][0]], unit)
    filled = np.where(used[:, None], parameters, np.median(parameters[used], axis=0))
    cover = _expected(filled, motion.path, best, size)
    colour, colour_sure, rgb, why_colour = _read_colour(frames, layer, cover)
    word, sure, why_motion = motion.word, motion.confidence, motion.why
    gone = _flicker(layer, cover)
    if gone:
        word, sure, why_motion = None, 0.0, gone
    path = motion.path
    return (
        ObjectReading(
            colour,
            shape,
            word,
            min(colour_sure, shape_sure, sure),
            "; ".join(w for w in (why_colour, why_shape, why_motion) if w),
            (int(rgb[0]), int(rgb[1]), int(rgb[2])),
            ((float(path[0, 0]), float(path[0, 1])), (float(path[-1, 0]), float(path[-1, 1]))),
            (float(path[0, 2]), float(path[-1, 2])),
            motion.spin,
        ),
        cover,
    )


def _expected_mass(parameters: np.ndarray, hypothesis: int) -> np.ndarray:
    """Area [T] of the whole outline, hidden or not."""
    shape, symmetry, k = HYPOTHESES[hypothesis]
    unit = np.pi if shape == "circle" else symmetry * k * np.sin(np.pi / symmetry)
    return unit * parameters[:, 2] ** 2


def _leftovers(found: Segmentation, covers: list[np.ndarray]) -> list[str]:
    """Islands that stand out and belong to no object, in at least two frames."""
    explained = np.zeros(found.foreground.shape, bool)
    for cover in covers:
        explained |= dilate(cover > 0.08, 3)
    strong = (found.foreground > max(1.4 * found.threshold, 38.0)) & ~explained
    seen = []
    for t, islands in enumerate(components(strong)):
        if islands and islands[0].sum() >= _LEFTOVER:
            row, column = np.argwhere(islands[0]).mean(0)
            seen.append(f"frame {t}: {int(islands[0].sum())} pixels at ({column:.0f}, {row:.0f})")
    return seen if len(seen) >= 2 else []


def analyse(frames: np.ndarray) -> Analysis:
    """What a clip, uint8 [T, H, W, 3], shows. T is at least 1; motion needs three frames.

    Raises ValueError for an array of another shape or dtype, or frames under 16 pixels.
    """
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], not {frames.dtype} {list(frames.shape)}")
    if not len(frames) or min(frames.shape[1:3]) < 16:
        raise ValueError(f"frames must be at least one of 16x16 pixels, not {list(frames.shape)}")
    found = segment(frames)
    usual = np.median(found.background, axis=0)
    steady = np.abs(found.background - usual).max() <= _BACKGROUND_DRIFT
    analysis = Analysis(background_colour(usual) if steady else None)
    covers = []
    for layer in sorted(found.layers, key=lambda item: -float(item.area.sum())):
        reading, cover = _read_object(frames, layer)
        analysis.objects.append(reading)
        covers.append(cover)
    analysis.unexplained = _leftovers(found, covers)
    return analysis


def compare(analysis: Analysis, scene: Scene) -> CheckResult:
    """Checks a reading against a scene; the objects may come in any order."""
    wanted, seen = scene.objects, analysis.objects
    count_ok = len(wanted) == len(seen) and not analysis.unexplained
    best: tuple[int, list[tuple[bool, bool, bool]]] = (-1, [])
    if len(wanted) == len(seen):
        for order in permutations(range(len(seen))):
            marks = [
                (seen[i].colour == w.colour, seen[i].shape == w.shape, seen[i].motion == w.motion)
                for i, w in zip(order, wanted, strict=True)
            ]
            total = sum(sum(m) for m in marks)
            if total > best[0]:
                best = (total, marks)
    marks = best[1]
    colour_ok, shape_ok, motion_ok = (bool(marks) and all(m[i] for m in marks) for i in range(3))
    background_ok = scene.background is None or analysis.background == scene.background
    ok = count_ok and colour_ok and shape_ok and motion_ok and background_ok
    why = ""
    if not ok:
        said = " and ".join(
            f"{o.colour} {o.shape} {o.motion}" + (f" ({o.why})" if o.why else "") for o in analysis.objects
        )
        why = f"seen: {said or 'no object'} on {analysis.background}"
        if analysis.unexplained:
            why += f"; unexplained: {analysis.unexplained[0]}"
    return CheckResult(ok, colour_ok, shape_ok, motion_ok, background_ok, count_ok, why)


def check(frames: np.ndarray, scene: Scene) -> CheckResult:
    """Whether a clip, uint8 [T, H, W, 3], shows the scene.

    Checked are colour, shape and motion of its objects, their number, and the background where the scene
    names one. A scene with skull=True is never ok: signs are not read. ValueError as `analyse`.
    """
    result = compare(analyse(frames), scene)
    if scene.skull:
        result.ok, result.why = False, "the scene asks for an unsafe sign"
    return result
