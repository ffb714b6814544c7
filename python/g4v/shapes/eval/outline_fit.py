"""Least-squares fit of the world's four outlines to soft masks.

Every outline is described by one straight edge in a folded wedge: seen from the centre, a regular n-gon
or an n-pointed star repeats every 360/n degrees and is mirror-symmetric, so folding the angle leaves one
edge from the vertex (radius R) to the middle of the side or the notch (radius k R). Pixels are covered by
a steep logistic function of the signed distance to that edge (anti-aliasing), then blurred by a Gaussian
(compression, coarse chroma, decoders). Six parameters per frame: centre x, y, radius R, angle, log of the
blur, amplitude.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# (shape, rotational symmetry, k). Stars are drawn with different notches; 0.382 is the pentagram.
HYPOTHESES = (
    ("circle", 1, 1.0),
    ("square", 4, float(np.cos(np.pi / 4))),
    ("triangle", 3, float(np.cos(np.pi / 3))),
    ("star", 5, 0.38),
    ("star", 5, 0.46),
    ("star", 5, 0.55),
)
SYMMETRY = {"circle": 0, "square": 4, "triangle": 3, "star": 5}
_STARTS = 6  # angles tried per symmetry period before the descent
_STEPS = 14
_HOPELESS = 4.0  # an outline whose cost over all frames is so many times the least is not refined further
_BLUR = np.log(0.5)  # usual blur (pixels) beyond anti-aliasing


@dataclass
class OutlineFits:
    """Fits of H hypotheses to T frames.

    parameters: float [H, T, 6] (x, y, R, angle, log blur, amplitude). cost: squared error [H, T]. mass: [H,
    T], the covered weight that the cost is compared with.
    """

    parameters: np.ndarray
    cost: np.ndarray
    mass: np.ndarray


def _tables() -> tuple[np.ndarray, ...]:
    n = np.array([h[1] for h in HYPOTHESES], np.float32)
    k = np.array([h[2] for h in HYPOTHESES], np.float32)
    edge_x, edge_y = k * np.cos(np.pi / n) - 1.0, k * np.sin(np.pi / n)
    length = np.maximum(np.hypot(edge_x, edge_y), 1e-9)
    area = n * k * np.sin(np.pi / n)  # of the outline with R = 1
    area[0] = np.pi
    return n, edge_y / length, -edge_x / length, area


_N, _NX, _NY, _UNIT_AREA = _tables()


_ANTIALIAS = 0.28  # logistic width (pixels) whose slope equals that of an edge averaged over one pixel


def coverage(
    parameters: np.ndarray, hypothesis: np.ndarray, x: np.ndarray, y: np.ndarray, jacobian: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Modelled alpha [B, P, P] for parameters [B, 6] and hypothesis indices [B].

    x, y: pixel centres [B, P], of the columns and of the rows. With jacobian=True also the derivatives
    [B, 6, P, P] by the parameters.
    """
    cx, cy, radius, angle, log_blur, amplitude = (parameters[:, i, None, None] for i in range(6))
    dx, dy = x[:, None, :] - cx, y[:, :, None] - cy
    rho = np.sqrt(dx * dx + dy * dy) + 1e-6
    nx, ny = _NX[hypothesis, None, None], _NY[hypothesis, None, None]
    circle = (hypothesis == 0)[:, None, None]
    period = (2 * np.pi / _N[hypothesis])[:, None, None].astype(rho.dtype)
    folded = np.arctan2(dy, dx) - angle
    folded = folded - period * np.round(folded / period)
    cos, sin = np.cos(folded), np.abs(np.sin(folded))
    slope = np.where(circle, 1.0, nx * cos + ny * sin)  # d distance / d rho
    normal = np.where(circle, 1.0, nx)
    distance = rho * slope - radius * normal
    sharp = 1.0 / (1.0 + np.exp(np.clip(distance / _ANTIALIAS, -30, 30)))
    spread = _spread(np.exp(parameters[:, 4]), x.shape[1]).astype(rho.dtype)
    across = spread.transpose(0, 2, 1)
    model = spread @ sharp @ across
    if not jacobian:
        return amplitude * model, None
    turn = np.where(circle, 0.0, rho * (ny * cos - nx * sin) * np.sign(folded))  # d distance / d polar angle
    steep = -amplitude * sharp * (1.0 - sharp) / _ANTIALIAS  # d sharp / d distance
    out = np.empty((len(model), 6) + model.shape[1:], model.dtype)
    out[:, 0] = steep * (-slope * dx / rho + turn * dy / rho**2)
    out[:, 1] = steep * (-slope * dy / rho - turn * dx / rho**2)
    out[:, 2] = -steep * normal
    out[:, 3] = -steep * turn
    out[:, :4] = spread[:, None] @ out[:, :4] @ across[:, None]
    # Blur is diffusion: its derivative is the Laplacian.
    curve = -4.0 * model
    curve[:, 1:] += model[:, :-1]
    curve[:, :-1] += model[:, 1:]
    curve[:, :, 1:] += model[:, :, :-1]
    curve[:, :, :-1] += model[:, :, 1:]
    out[:, 4] = amplitude * np.exp(2 * log_blur) * curve
    out[:, 5] = model
    return amplitude * model, out


def _spread(blur: np.ndarray, size: int) -> np.ndarray:
    """Gaussian blur of standard deviations blur [B] (pixels) as matrices [B, size, size], rows summing to
    one.
    """
    gap = np.arange(size)[:, None] - np.arange(size)[None, :]
    kernel = np.exp(-0.5 * (gap[None] / np.maximum(blur, 0.2)[:, None, None]) ** 2)
    return kernel / kernel.sum(-1, keepdims=True)


def _prior(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals and weights of what is known before: blur is about half a pixel, amplitudes near
    one.
    """
    return parameters[:, 4:] - np.array([_BLUR, 1.0]), np.array([1.0, 12.0])


def _descend(
    state: np.ndarray,
    batch: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    goal: np.ndarray,
    importance: np.ndarray,
    reach: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Levenberg-Marquardt from the best of a few angles: parameters [B, 6] and cost [B] of hypotheses
    batch [B].
    """

    def error(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        model, _ = coverage(values, batch[rows], x[rows], y[rows])
        off, strength = _prior(values)
        return (importance[rows] * (goal[rows] - model) ** 2).sum((1, 2)) + (strength * off**2).sum(1)

    everyone = np.arange(len(batch))
    best = np.full(len(batch), np.inf)
    start = state.copy()
    for i in range(_STARTS):
        rows = everyone if i == 0 else np.flatnonzero(batch > 0)  # a circle has no angle
        trial = state[rows].copy()
        trial[:, 3] = i * 2 * np.pi / (_STARTS * _N[batch[rows]])
        now = error(trial, rows)
        better = now < best[rows]
        start[rows[better]], best[rows[better]] = trial[better], now[better]
    state, damping, active = start, np.full(len(batch), 1e-2), everyone
    lowest = np.array([-np.inf, -np.inf, 1.5, -np.inf, np.log(0.2), 0.5])
    highest = np.array([np.inf, np.inf, 1.5 * reach, np.inf, np.log(2.5), 1.4])
    most = np.array([3, 3, 3, 0.4, 0.5, 0.2])
    diagonal = np.arange(6)
    for i in range(_STEPS):
        if i in (2, 5):
            total = np.bincount(batch, weights=best)
            active = active[total[batch[active]] < _HOPELESS * total.min()]
        if not len(active):
            break
        model, slopes = coverage(state[active], batch[active], x[active], y[active], jacobian=True)
        assert slopes is not None
        off, strength = _prior(state[active])
        weighted = (slopes * importance[active, None]).reshape(len(active), 6, -1)
        rest = (goal[active] - model).reshape(len(active), -1, 1)
        hessian = (weighted @ slopes.reshape(len(active), 6, -1).transpose(0, 2, 1)).astype(float)
        gradient = (weighted @ rest)[..., 0].astype(float)
        hessian[:, [4, 5], [4, 5]] += strength
        gradient[:, 4:] -= strength * off
        hessian[:, diagonal, diagonal] = hessian[:, diagonal, diagonal] * (1 + damping[active, None]) + 1e-3
        step = np.clip(np.linalg.solve(hessian, gradient[..., None])[..., 0], -most, most)
        trial = np.clip(state[active] + step, lowest, highest).astype(state.dtype)
        now = error(trial, active)
        better = now < best[active]
        gain = np.where(better, best[active] - now, 0.0)
        state[active[better]], best[active[better]] = trial[better], now[better]
        damping[active] = np.where(better, damping[active] * 0.3, damping[active] * 5)
        settled = (gain < 2e-3 * best[active]) & (better | (damping[active] > 10))
        active = active[~settled]
    return state, best


def fit_outlines(alpha: np.ndarray, known: np.ndarray, own: np.ndarray) -> tuple[OutlineFits, np.ndarray]:
    """Fits every hypothesis to every frame of alpha float [T, H, W] where known [T, H, W]; own marks the
    object's pixels.

    Returns the fits and bool [T], the frames that had enough visible object. Frames without are left at
    cost 0.
    """
    frames, height, width = alpha.shape
    usable = own.sum(axis=(1, 2)) >= 14
    count = len(HYPOTHESES)
    parameters = np.zeros((count, frames, 6))
    parameters[..., 4], parameters[..., 5] = _BLUR, 1.0
    cost, mass = np.zeros((count, frames)), np.zeros((count, frames))
    times = np.flatnonzero(usable)
    if not len(times):
        return OutlineFits(parameters, cost, mass), usable
    area, centre = np.zeros(frames), np.zeros((frames, 2))
    for t in times:
        weight = np.clip(alpha[t], 0, 1) * own[t]
        area[t] = weight.sum()
        rows, columns = np.mgrid[:height, :width]
        centre[t] = (weight * columns).sum() / area[t], (weight * rows).sum() / area[t]
    reach = int(np.ceil(1.02 * np.sqrt(area[times].max()))) + 4  # the pointed outlines reach furthest
    offset = np.arange(-reach, reach + 1)
    px = np.round(centre[times, :1]) + offset
    py = np.round(centre[times, 1:]) + offset
    inside = ((px >= 0) & (px < width))[:, None, :] & ((py >= 0) & (py < height))[:, :, None]
    ix = np.clip(px, 0, width - 1).astype(int)[:, None, :]
    iy = np.clip(py, 0, height - 1).astype(int)[:, :, None]
    clock = times[:, None, None]
    target = alpha[clock, iy, ix].astype(np.float32)
    weight = (inside & known[clock, iy, ix]).astype(np.float32)
    px, py = px.astype(np.float32), py.astype(np.float32)

    batch = np.repeat(np.arange(count), len(times))
    repeat = np.tile(np.arange(len(times)), count)
    x, y, goal, importance = px[repeat], py[repeat], target[repeat], weight[repeat]
    state = np.zeros((len(batch), 6), np.float32)
    state[:, :2] = centre[times][repeat]
    state[:, 2] = np.sqrt(area[times][repeat] / _UNIT_AREA[batch])
    state[:, 4], state[:, 5] = _BLUR, 1.0

    state, _ = _descend(state, batch, x, y, goal, importance, reach)
    model, _ = coverage(state, batch, x, y)
    shape = (count, len(times))
    parameters[:, times] = state.reshape(shape + (6,))
    cost[:, times] = (importance * (goal - model) ** 2).sum((1, 2)).reshape(shape)
    mass[:, times] = (importance * np.clip(model, 0, 1)).sum((1, 2)).reshape(shape)
    return OutlineFits(parameters, cost, mass), usable
