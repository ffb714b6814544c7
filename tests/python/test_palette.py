"""GIFs: the same pictures as of FFmpeg's one graph, and the memory that is asked for suffices."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from g4v import _encode, _palette
from g4v.errors import OutputError

RATE = Fraction(8)


def one_graph(frames):
    """The same by FFmpeg's documented way, which holds the whole clip."""
    from av.filter import Graph

    graph = Graph()
    height, width = frames.shape[1:3]
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=1 / RATE)
    split, choose, use = graph.add("split"), graph.add("palettegen"), graph.add("paletteuse")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(choose, 0, 0)
    split.link_to(use, 1, 0)
    choose.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for picture in _palette.pictures(frames, RATE):
        graph.push(picture)
    graph.push(None)
    return [graph.pull() for _ in frames]


def noise(*shape):
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(4, 40, 56, 3), (1, 33, 47, 3), (3, 1, 1, 3)], ids=str)
def test_the_same_pictures_as_of_one_graph(shape):
    frames = noise(*shape)
    found, expected = list(_palette.with_palette(frames, RATE)), one_graph(frames)
    assert len(found) == len(expected) == len(frames)
    for one, other in zip(found, expected, strict=True):
        assert (one.pts, one.time_base, one.format.name) == (other.pts, other.time_base, "pal8")
        assert [bytes(plane) for plane in one.planes] == [bytes(plane) for plane in other.planes]


PEAK = """
import sys
import numpy as np
from g4v import _encode, _palette

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

def clip(frames, side):
    low, high = (0, 256) if sys.argv[1] == "noise" else (7, 8)
    return np.random.default_rng(0).integers(low, high, (frames, side, side, 3), np.uint8)

_encode.encode_video(clip(2, 16), 8, ".gif")
frames, before = clip(*map(int, sys.argv[2:])), kilobytes("VmSize")
asked = _palette.memory_of(frames)
_palette.memory_of = lambda _: 0  # so that what is seen is what is taken, not what is asked for
_encode.encode_video(frames, 8, ".gif")
taken = 1024 * (kilobytes("VmPeak") - before)
assert taken < asked < 4 * taken + 2 * _palette.OTHER, (taken, asked)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("clip", ["noise 4 192", "plain 24 320"])
def test_the_memory_that_is_asked_for_suffices(clip):
    command = [sys.executable, "-c", PEAK, *clip.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_the_memory_nothing_is_begun(monkeypatch):
    monkeypatch.setattr(_palette, "memory_of", lambda frames: 1 << 60)
    monkeypatch.setattr(_palette, "_choose", None)
    with pytest.raises(OutputError, match=r"^gif, the encoder for .gif, has not enough memory$"):
        _encode.encode_video(noise(1, 8, 8, 3), 8, ".gif")
