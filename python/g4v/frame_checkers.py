"""Checkers of generated frames, to be passed to `g4v.load(frame_checker=...)`.

A checker is called with uint8 frames [T, H, W, 3] and returns for each frame how unsafe it is, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import ArgumentError, RuntimeUnavailable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FrameChecker = Callable[[npt.NDArray[np.uint8]], npt.ArrayLike]

# What NudeNet's detector names and a video must not show.
_EXPOSED = frozenset(
    f"{part}_EXPOSED" for part in ("ANUS", "BUTTOCKS", "FEMALE_BREAST", "FEMALE_GENITALIA", "MALE_GENITALIA")
)


def nudenet() -> FrameChecker:
    """Nudity, by the `nudenet` package, which is AGPL and therefore yours to install.

    A frame's score is that of its surest exposed part. Raises `RuntimeUnavailable` where it is not installed.
    """
    try:
        from nudenet import NudeDetector  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise RuntimeUnavailable(
            f"the frame checker nudenet does not load ({error}): pip install nudenet (AGPL)"
        ) from None
    detector = NudeDetector()

    def check(frames: npt.NDArray[np.uint8]) -> list[float]:
        found: list[list[dict[str, Any]]] = [detector.detect(frame[..., ::-1].copy()) for frame in frames]
        return [
            max((float(part["score"]) for part in parts if part["class"] in _EXPOSED), default=0.0)
            for parts in found
        ]

    return check


FRAME_CHECKERS: dict[str, Callable[[], FrameChecker]] = {"nudenet": nudenet}


def frame_checker(name: str) -> FrameChecker:
    """The checker of this name. Raises `ArgumentError` for a name that is not known."""
    if name not in FRAME_CHECKERS:
        raise ArgumentError(f"{name!r} is no frame checker (one of {', '.join(FRAME_CHECKERS)})")
    return FRAME_CHECKERS[name]()
