"""The pictures of a GIF: a clip in 256 colours that are chosen for all of its frames."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Frames = npt.NDArray[np.uint8]

# Bytes that FFmpeg takes at most while it writes a GIF: for each colour of the clip tables to choose from,
# for each pixel of a frame some copies, for each of the clip what it becomes in the file.
# tests/python/test_palette.py checks it.
COLOUR, FRAME_PIXEL, CLIP_PIXEL, OTHER = 64, 24, 4, 16 << 20


def pictures(frames: Frames, rate: Fraction) -> Iterator[VideoFrame]:
    """Frames (uint8 [T, H, W, 3], RGB) as FFmpeg's, with their times at so many frames per second."""
    import av

    for k, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = k, 1 / rate
        yield picture


def with_palette(frames: Frames, rate: Fraction) -> Iterator[VideoFrame]:
    """The same in 256 colours (pal8).

    The clip is gone through twice, once to choose the colours and once to use them, so that FFmpeg never
    holds the whole of it, as it does where one graph does both.

    Raises:
        MemoryError: there may not be enough. FFmpeg and PyAV can crash where they find none, so it is asked
            for before they are.
    """
    height, width = frames.shape[1:3]
    np.empty(memory_of(frames), np.uint8)
    palette = _choose(frames, rate)
    from av.filter import Graph

    graph: Any = Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=1 / rate)
    colours = graph.add_buffer(
        width=palette.width, height=palette.height, format=palette.format.name, time_base=1 / rate
    )
    use, sink = graph.add("paletteuse"), graph.add("buffersink")
    source.link_to(use, 0, 0)
    colours.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    palette.pts, palette.time_base = 0, 1 / rate
    colours.push(palette)
    colours.push(None)
    for picture in pictures(frames, rate):
        source.push(picture)
        yield graph.pull()


def memory_of(frames: Frames) -> int:
    """Bytes of memory that suffice to write a clip as a GIF.

    MemoryError: there are not even those to count its colours.
    """
    seen = np.zeros(1 << 24, np.bool_)
    for frame in frames:
        seen[frame @ np.array([1 << 16, 1 << 8, 1], np.uint32)] = True
    pixels = frames[0, ..., 0].size
    return int(seen.sum()) * COLOUR + pixels * FRAME_PIXEL + len(frames) * pixels * CLIP_PIXEL + OTHER


def _choose(frames: Frames, rate: Fraction) -> Any:
    """The palette of a clip, as FFmpeg's picture of 16 x 16 colours."""
    from av.filter import Graph

    graph: Any = Graph()
    height, width = frames.shape[1:3]
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=1 / rate)
    choose, sink = graph.add("palettegen"), graph.add("buffersink")
    source.link_to(choose)
    choose.link_to(sink)
    graph.configure()
    for picture in pictures(frames, rate):
        graph.push(picture)
        with contextlib.suppress(BlockingIOError):  # there is no palette yet; but now the picture is gone
            graph.pull()
    graph.push(None)
    return graph.pull()
