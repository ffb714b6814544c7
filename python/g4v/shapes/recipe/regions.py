"""What the patches on an object are taught about it: its outline, its place and its motion.

A small vision transformer learns colours from phrases at once, but shapes and motions very slowly: two bits
per patch say little about edges. The outline and the way of the whole object, asked of every patch on it,
are hundreds of numbers that can only be told by looking at the patches and frames around. The head that
tells them is thrown away after training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from g4v.shapes.world.render import Thing

_COVERED = 0.15  # part of a patch that an object must cover to count as its region
_GRID = 12  # the whole outline is sampled on a grid of 12x12 over 1.2 radii to every side
_PLACE = 3  # centre's offset from the patch's centre (x, y) and radius, in patches
_MOTION = 4  # change of x, y and radius from frame to frame in patches, and of the turn in radians


@dataclass
class Regions:
    """The R patches of a batch that show a thing (an object or the skull sign), and what they are taught."""

    places: Tensor  # int64 [R, 3]: clip, frame, patch (rows of patches from the top)
    things: Tensor  # int64 [R]: index of the thing in its clip
    outlines: Tensor  # float [R, patch * patch + 144] in 0..1: own pixels, then the whole thing
    ways: Tensor  # float [R, 7]: place, then motion (zero in single frames)


def _owner(things: list[Thing], patch: int) -> np.ndarray:
    """The visible thing that each patch belongs to, -1 for none: int64 [T, P]."""
    visible: NDArray[np.float32] = np.stack([thing.cover for thing in things])
    for above in range(1, len(things)):  # later ones lie over earlier ones
        visible[:above] *= 1 - visible[above]
    count, frames, size, _ = visible.shape
    side = size // patch
    share = visible.reshape(count, frames, side, patch, side, patch).mean((3, 5))
    return np.where(share.max(0) > _COVERED, share.argmax(0), -1).reshape(frames, side * side)


def _whole_outlines(thing: Thing) -> np.ndarray:
    """The cover around the centre, scaled by the radius: float32 [T, 144]."""
    size = thing.cover.shape[-1]
    steps = (np.arange(_GRID, dtype=np.float32) + 0.5) / _GRID * 2.4 - 1.2
    columns = thing.track.x[:, None] + steps * thing.track.radius[:, None]
    rows = thing.track.y[:, None] + steps * thing.track.radius[:, None]
    x, y = (np.clip(values, 0, size - 1).astype(np.int64) for values in (columns, rows))
    frames = np.arange(len(thing.cover))[:, None, None]
    return thing.cover[frames, y[:, :, None], x[:, None, :]].reshape(-1, _GRID * _GRID)


def _ways(thing: Thing, patch: int) -> np.ndarray:
    """Centre and radius, then their change and that of the turn: float32 [T, 7], lengths in patches."""
    track = thing.track
    place = np.stack([track.x, track.y, track.radius], -1) / patch
    if len(place) == 1:
        return np.concatenate([place, np.zeros((1, _MOTION), np.float32)], -1)
    turn = np.gradient(track.turn)[:, None]
    return np.concatenate([place, np.gradient(place, axis=0), turn], -1)


def find_regions(clips: list[list[Thing]], patch: int) -> Regions:
    """The regions of a batch of clips.

    clips: for each the things that were drawn, at least one in all. patch: edge of a patch in pixels.
    """
    places, owners, outlines, ways = [], [], [], []
    for clip, things in enumerate(clips):
        if not things:
            continue
        owner = _owner(things, patch)
        side = things[0].cover.shape[-1] // patch
        frame, spot = np.nonzero(owner >= 0)
        which = owner[frame, spot]
        row, column = spot // side, spot % side
        covers = np.stack([thing.cover for thing in things])
        own = covers.reshape(*covers.shape[:2], side, patch, side, patch)[which, frame, row, :, column]
        whole = np.stack([_whole_outlines(thing) for thing in things])[which, frame]
        way = np.stack([_ways(thing, patch) for thing in things])[which, frame]
        way[:, 0] -= column + 0.5
        way[:, 1] -= row + 0.5
        places.append(np.stack([np.full_like(frame, clip), frame, spot], -1))
        owners.append(which)
        outlines.append(np.concatenate([own.reshape(len(own), -1), whole], -1))
        ways.append(way)
    joined = [np.concatenate(parts) for parts in (places, owners, outlines, ways)]
    first, second = (torch.from_numpy(values) for values in joined[:2])
    third, fourth = (torch.from_numpy(values.astype(np.float32)) for values in joined[2:])
    return Regions(first, second, third, fourth)


class RegionHead(nn.Module):
    """Predicts outlines, places and motions from patch tokens of `width` numbers by linear maps."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.outlines = nn.Linear(width, patch * patch + _GRID * _GRID)
        self.ways = nn.Linear(width, _PLACE + _MOTION)

    def forward(self, tokens: Tensor, regions: Regions, moving: bool) -> tuple[Tensor, dict[str, float]]:
        """The scalar loss on patch tokens [R, d], and its terms by name. moving: clips show motion."""
        outline = F.binary_cross_entropy_with_logits(self.outlines(tokens), regions.outlines)
        error = F.smooth_l1_loss(self.ways(tokens), regions.ways, reduction="none", beta=0.2).mean(0)
        place, motion = error[:_PLACE].mean(), error[_PLACE:].mean()
        figures = {"outline": float(outline.detach()), "place": float(place.detach())}
        loss = 3 * outline + 2 * place
        if moving:
            figures["way"] = float(motion.detach())
            loss = loss + 10 * motion
        return loss, figures
