"""From pixels to soft masks: background, the colours that stand out of it, and which pixel belongs to
which object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FOREGROUND = 26.0  # smallest RGB distance from the background that counts; noise and coding stay below
_CORE = 52.0  # distance of pixels that may vote for a colour: about half of the weakest contrast
_SAME_DEGREES = 11.0  # pixels of one object point the same way from the background within this angle
_OTHER_DEGREES = 13.0  # pixels of another colour are at least this far away
_SPECK = 10  # pixels; smaller islands are noise (the smallest star has about 40)


@dataclass
class Layer:
    """One object's evidence in the clip.

    alpha: float32 [T, H, W], 0 background .. 1 object. known: bool [T, H, W], False where another object or
    another colour hides what is there. own: bool [T, H, W], the object's pixels, soft rim included. area:
    float [T], their summed alpha. colour: float [3], RGB.
    """

    alpha: np.ndarray
    known: np.ndarray
    own: np.ndarray
    area: np.ndarray
    colour: np.ndarray


@dataclass
class Segmentation:
    """A clip taken apart.

    background: float [T, 3], RGB of each frame. foreground: float32 [T, H, W], RGB distance from it; above
    `threshold` it counts. layers: the objects.
    """

    background: np.ndarray
    foreground: np.ndarray
    threshold: float
    layers: list[Layer]


def shifted(mask: np.ndarray, dy: int, dx: int, fill: object = 0) -> np.ndarray:
    """The last two axes moved by (dy, dx) pixels, `fill` coming in at the edges."""
    out = np.full_like(mask, fill)
    h, w = mask.shape[-2:]
    out[..., max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = mask[
        ..., max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)
    ]
    return out


_CROSS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def erode(mask: np.ndarray) -> np.ndarray:
    """Pixels whose four neighbours are set too; outside the frame counts as set."""
    out = mask.copy()
    for dy, dx in _CROSS:
        out &= shifted(mask, dy, dx, True)
    return out


def dilate(mask: np.ndarray, times: int = 1) -> np.ndarray:
    """Pixels set or with a set neighbour (four-connected), `times` over."""
    for _ in range(times):
        out = mask.copy()
        for dy, dx in _CROSS:
            out |= shifted(mask, dy, dx, False)
        mask = out
    return mask


def components(mask: np.ndarray) -> list[list[np.ndarray]]:
    """Islands of every frame of a bool mask [T, H, W], largest first: per frame a list of bool [H, W]."""
    frames, h, w = mask.shape
    big = h * w
    labels = np.where(mask, np.arange(h * w).reshape(h, w), big)
    while True:
        smallest = labels
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                smallest = np.minimum(smallest, shifted(labels, dy, dx, big))
        smallest = np.where(mask, smallest, big)
        # Pointer jumping: a label is itself a pixel of the island, so its own label may be smaller still.
        flat = np.concatenate([smallest.reshape(frames, -1), np.full((frames, 1), big)], axis=1)
        jumped = np.take_along_axis(flat, smallest.reshape(frames, -1), axis=1).reshape(mask.shape)
        if np.array_equal(jumped, labels):
            break
        labels = jumped
    result = []
    for t in range(frames):
        names, counts = np.unique(labels[t][mask[t]], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        result.append([labels[t] == names[i] for i in order])
    return result


def _background(frames: np.ndarray) -> np.ndarray:
    """Background colour per frame, float [T, 3]: the median, then the median of what lies near it.

    Objects cover less than half of the world's frames; the second pass takes their pull off the first.
    """
    pixels = frames.reshape(len(frames), -1, 3).astype(np.float32)
    colours = np.median(pixels, axis=1)
    for t, frame in enumerate(pixels):
        near = np.abs(frame - colours[t]).max(1) < _FOREGROUND
        if near.sum() >= 64:
            colours[t] = np.median(frame[near], axis=0)
    return colours


def _directions(difference: np.ndarray, distance: np.ndarray) -> list[np.ndarray]:
    """At most three unit vectors [3] from the background towards object colours, the commonest first.

    Directions do not depend on how much background an anti-aliased or blurred pixel contains, colours do.
    """
    strong = distance > _CORE
    vectors = difference[strong] / distance[strong][:, None]
    near, far = np.cos(np.radians([_SAME_DEGREES, _OTHER_DEGREES]))
    found: list[np.ndarray] = []
    left = np.ones(len(vectors), bool)
    units = np.zeros(distance.shape + (3,), np.float32)
    units[strong] = vectors
    while len(found) < 3 and left.sum() >= 6 * _SPECK:
        pool = vectors[left]
        sample = pool[:: max(1, len(pool) // 500)]
        votes = (sample @ sample.T > near).sum(1)
        centre = sample[int(np.argmax(votes))]
        for _ in range(3):
            centre = pool[pool @ centre > near].mean(0)
            centre = centre / np.linalg.norm(centre)
        members = strong & (units @ centre > near)
        inner = erode(members).sum(axis=(1, 2))
        taken = vectors @ centre > far
        if (inner >= 4).sum() * 2 >= len(distance):  # a rim of mixed colours has no inside
            found.append(centre.astype(np.float32))
        if not (left & taken).any():
            break
        left &= ~taken
    return found


def _layer(alpha: np.ndarray, own: np.ndarray, foreground: np.ndarray, colour: np.ndarray) -> Layer:
    known = own | ~foreground
    area = np.where(own, np.clip(alpha, 0, 1), 0).sum(axis=(1, 2))
    soft = np.where(known, np.clip(alpha, -0.3, 1.3), 0).astype(np.float32)
    return Layer(soft, known, own, area, colour)


def _split(own: np.ndarray) -> list[np.ndarray] | None:
    """Own-pixel masks of two islands that last, followed through the frames; None when there is one."""
    islands = [[m for m in found if m.sum() >= 2 * _SPECK] for found in components(own)]
    pairs = [t for t, found in enumerate(islands) if len(found) >= 2]
    if len(pairs) < max(2, len(own) // 2):
        return None
    tracks: list[np.ndarray] = [np.zeros_like(own), np.zeros_like(own)]
    last: list[np.ndarray] = []
    for t in pairs:
        two = islands[t][:2]
        now = [np.array([*np.argwhere(m).mean(0), np.sqrt(m.sum())]) for m in two]
        if last:
            straight = np.linalg.norm(now[0] - last[0]) + np.linalg.norm(now[1] - last[1])
            crossed = np.linalg.norm(now[1] - last[0]) + np.linalg.norm(now[0] - last[1])
            if crossed < straight:
                two, now = two[::-1], now[::-1]
        for k in range(2):
            tracks[k][t] = two[k]
        last = now
    return tracks


def _alpha(strength: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Projection [T, H, W] scaled so that the inside of the object is one."""
    if not mine.any():
        return np.zeros_like(strength)
    full = float(np.percentile(strength[mine], 80))
    return strength / float(np.median(strength[mine & (strength > 0.85 * full)]))


def _solid(alpha: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Pixels more than half covered, without specks."""
    kept = np.zeros_like(mine)
    for t, found in enumerate(components(mine & (alpha > 0.5))):
        for island in found:
            if island.sum() >= _SPECK or island is found[0]:
                kept[t] |= island
    return kept


def _halo(solids: list[np.ndarray]) -> int | None:
    """Index of a colour that is no object but the rim of another, or seen in less than half of the frames.

    Coarse chroma gives the rims of objects colours of their own; a rim lies along another object and is
    smaller than it.
    """
    sizes = [solid.sum() for solid in solids]
    for k in np.argsort(sizes, kind="stable"):
        if 2 * (solids[k].sum(axis=(1, 2)) >= _SPECK).sum() < len(solids[k]):
            return int(k)
        for other, size in zip(solids, sizes, strict=True):
            along = (solids[k] & dilate(other, 2)).sum()
            if sizes[k] < 0.6 * size and along > 0.6 * sizes[k]:
                return int(k)
    return None


def segment(frames: np.ndarray) -> Segmentation:
    """Soft object layers of a clip uint8 [T, H, W, 3]; at most three, none when nothing stands out."""
    pixels = frames.astype(np.float32)
    background = _background(frames)
    difference = pixels - background[:, None, None, :].astype(np.float32)
    distance = np.sqrt((difference**2).sum(-1))
    quiet = distance[distance < 60.0]
    # The median length of a three-dimensional Gaussian is 1.54 sigma.
    noise = float(np.median(quiet)) / 1.54 if quiet.size else 0.0
    threshold = float(np.clip(4.5 * noise, _FOREGROUND, 60.0))
    foreground = distance > threshold
    directions = _directions(difference, distance)
    while directions:
        likeness = np.stack([difference @ d for d in directions])  # [K, T, H, W], projections in RGB units
        label = np.argmax(likeness, axis=0)
        masks = [foreground & (label == k) for k in range(len(directions))]
        alphas = [_alpha(strength, mine) for strength, mine in zip(likeness, masks, strict=True)]
        solids = [_solid(alpha, mine) for alpha, mine in zip(alphas, masks, strict=True)]
        false = _halo(solids)
        if false is None:
            break
        del directions[false]
    layers: list[Layer] = []
    for k in range(len(directions)):
        # Two objects of one colour are told apart by their place.
        tracks = _split(solids[k]) if len(directions) == 1 else None
        colour = np.median(pixels[masks[k] & (alphas[k] > 0.85)], axis=0)
        for track in tracks or [solids[k]]:
            # The soft rim belongs to the island that it surrounds.
            own = masks[k] & dilate(track, 2)
            layers.append(_layer(alphas[k], own, foreground, colour))
    return Segmentation(background, distance, threshold, layers)
