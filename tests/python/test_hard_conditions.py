"""No memory, a full disk, files that cannot be written: one line says so, nothing half written is left, and
the same process goes on when there is room again. `python tests/hard_conditions.py` tries very many more.
"""

from __future__ import annotations

import sys

import pytest

from hard_conditions import NOT_HERE, is_good, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and mounts a tmpfs")

NO_MEMORY = "InternalError: there is not enough memory"
CELLS = {
    ("turn with a clip", "memory", 200_000_000): NO_MEMORY,
    ("video", "memory", 100_000_000): NO_MEMORY,
    ("save .mp4", "memory", 40_000_000): "OutputError: libx264, the encoder for .mp4, has not enough memory",
    ("save .mp4", "disk", 200_000): "video.mp4 cannot be written: the disk is full; free some space",
    ("save .gif", "read-only", 0): "video.gif cannot be written: no permission",
    ("g4v generate", "disk", 0): "Refused: g4v: error: ",
    ("upload to the server", "disk", 5_000_000): "cannot be written: No space left on device",
}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]}, {cell[1]}")
def test_refused_and_then_done(tmp_path, cell):
    found = run(tmp_path, *cell)
    if found.get("error", "").startswith(NOT_HERE):
        pytest.skip("there can be no such file system here")
    assert found["outcome"] == "refused" and CELLS[cell] in found["error"], found
    assert is_good(found), found


@pytest.mark.parametrize("cell", [("disk", 4_000_000), ("read-only", 0)], ids=lambda cell: cell[0])
def test_a_checkpoint_keeps_the_one_before(tmp_path, cell):
    pytest.importorskip("torch")
    found = run(tmp_path, "checkpoint", *cell)
    if found.get("error", "").startswith(NOT_HERE):
        pytest.skip("there can be no such file system here")
    assert found["outcome"] == "refused" and "last good checkpoint is" in found["error"], found
    assert is_good(found), found
