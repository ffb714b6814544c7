"""From a decoded frame to RGB pixels: colour, size, rotation, transparency."""

from __future__ import annotations

import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Frames = npt.NDArray[np.uint8]
"""Frames of a video, uint8 [T, H, W, 3] in RGB."""

KEPT_FRAME_PIXELS = 4096 * 2304
"""Larger frames are reduced to this area."""

_SIDE_DATA_TYPES = 64  # more than any FFmpeg has; it numbers them from 0


class RgbConverter:
    """Makes pixels of the frames of one video.

    It owns the scaling context of FFmpeg, which has threads. A frame that is converted by its own method
    keeps such a context, and where it is left to the garbage collector, that may free it in a process that
    was forked since and does not have those threads.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame, size: tuple[int, ...] | None) -> Frames:
        """One frame as uint8 [H, W, 3]: upright, over black, in the (H, W) that an earlier frame has set."""
        matrix = _display_matrix(frame)
        turned = matrix is not None and abs(matrix[1]) > abs(matrix[0])
        width, height = frame.width, frame.height
        if size is not None:
            height, width = reversed(size) if turned else size
        elif width * height > KEPT_FRAME_PIXELS:
            scale = (KEPT_FRAME_PIXELS / (width * height)) ** 0.5
            width, height = max(1, int(width * scale)), max(1, int(height * scale))
        resize: dict[str, Any] = {}
        if (width, height) != (frame.width, frame.height):
            resize = {"width": width, "height": height, "interpolation": "AREA"}
        has_alpha = any(component.is_alpha for component in frame.format.components)
        converted = self._reformatter.reformat(frame, format="rgba" if has_alpha else "rgb24", **resize)
        image: Any = converted.to_ndarray()
        if has_alpha:
            alpha = image[..., 3:].astype(np.uint16)
            image = ((image[..., :3] * alpha + 127) // 255).astype(np.uint8)
        rgb: Frames = image if matrix is None else _upright(image, matrix)
        return rgb


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int] | None:
    """(a, b, c, d) of the frame's display matrix, x' = a x + c y and y' = b x + d y; None without one."""
    from av.sidedata import sidedata

    # Not frame.side_data, which the frame keeps: the two would refer to each other.
    side_data: Any = sidedata.SideDataContainer
    try:
        data = side_data(frame).get("DISPLAYMATRIX")
    except ValueError:
        frame = _without_unknown_side_data(frame)
        data = side_data(frame).get("DISPLAYMATRIX")
    if data is None:
        return None
    values = np.frombuffer(bytes(data), "<i4" if sys.byteorder == "little" else ">i4")
    return None if len(values) < 5 else (int(values[0]), int(values[1]), int(values[3]), int(values[4]))


def _without_unknown_side_data(frame: VideoFrame) -> VideoFrame:
    """The frame without the side data of types that PyAV does not know, such as EXIF: it cannot list them."""
    from av.filter import Graph
    from av.sidedata.sidedata import Type

    graph = Graph()
    base = frame.time_base or Fraction(1, 1000)
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
    kinds: Any = Type
    known = {kind.value for kind in kinds}
    for number in range(_SIDE_DATA_TYPES):
        if number not in known:
            remover = graph.add("sidedata", f"mode=delete:type={number}")
            last.link_to(remover)
            last = remover
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    kept: Any = graph.pull()
    return cast("VideoFrame", kept)


def _upright(image: Frames, matrix: tuple[int, int, int, int]) -> Frames:
    """Applies the turn by a multiple of 90 degrees, with mirrors, that is nearest to the matrix."""
    a, b, c, d = matrix
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    if a < 0:
        image = image[:, ::-1]
    if d < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)
