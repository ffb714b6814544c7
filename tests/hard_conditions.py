"""Runs operations of g4v where the system has no memory, a full disk, or files that cannot be written.

    python tests/hard_conditions.py [--out build/hard_conditions.json] [--only NAME ...]

Each cell is a process (tests/hard_operations.py). What the operation needs is measured first; then it gets
shares of that, in percent: of address space (RLIMIT_AS), and of free bytes of a tmpfs. A cell is good where
the operation is done, or refused with one line by a `g4v.Error`, a MemoryError or a command's exit code 1;
where what was on disk is as it was and nothing else is there; and where the same process does it again once
there is room. The exit code is 1 where a cell is not good.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
SHARES = (60, 50, 40, 30, 20)  # percent of what an operation needs
DISKS = (75, 50, 25, 0)
LEAST = 4_000_000  # bytes of memory that each operation is said to need at least
NOT_HERE = "exit code 77"
PACKED = ("load of packed weights", "turn of packed weights")
# Operation -> whether it writes, and what hard_conditions.py makes for it.
OPERATIONS = {
    "first load": False, "load": False, "turn": False, "turn with a clip": False, "video": False,
    PACKED[0]: False, PACKED[1]: False,
    "save .mp4": True, "save .webm": True, "save .gif": True,
    "g4v generate": True, "g4v chat": True,
    "export": True, "python -m g4v.export": True,
    "checkpoint": True,
    "upload to the server": True, "video of the server": True,
}  # fmt: skip


def make(folder: Path, names: Sequence[str]) -> None:
    """What the operations start from: a bundle of packed weights, a run to export."""
    sys.path.insert(0, str(TESTS.parent))
    from tests.packed_bundle import write_packed_bundle

    from g4v.export.checkpoint.random_checkpoint import write_random_checkpoint
    from g4v.model.presets import TINY

    if {*names} & {*PACKED}:
        write_packed_bundle(folder / "packed")
    if {*names} & {"export", "python -m g4v.export"}:
        write_random_checkpoint(folder / "run", TINY, vocab_size=280)


def run(folder: Path, operation: str, condition: str, amount: int, patience: float = 240) -> dict[str, Any]:
    """What became of a cell; "dies" and "hangs" are of the process."""
    command = [sys.executable, TESTS / "hard_operations.py", operation, condition, str(amount), folder]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=patience,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return {"outcome": "hangs"}
    if done.returncode:
        return {"outcome": "dies", "error": f"exit code {done.returncode}: {done.stderr[-400:]}"}
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def is_good(cell: dict[str, Any]) -> bool:
    """Whether the operation was done or refused, nothing is left of it, and it works again."""
    ended = cell["outcome"] == "done" or (cell["outcome"] == "refused" and not cell["left"])
    return bool(ended and cell["again"]["outcome"] == "done")


def cells(folder: Path, operation: str, shares: Sequence[int] = SHARES) -> Iterator[dict[str, Any]]:
    """All conditions of an operation, each run."""
    need = run(folder, operation, "none", 0)
    if "memory" not in need:
        yield {"operation": operation, "condition": "none", **need, "good": False}
        return
    conditions = [("memory", share, max(need["memory"], LEAST) * share // 100) for share in shares]
    if OPERATIONS[operation]:
        conditions += [("disk", share, need["disk"] * share // 100) for share in DISKS]
        conditions += [("read-only", 0, 0)]
    for condition, share, amount in conditions:
        cell = run(folder, operation, condition, amount)
        if cell.get("error", "").startswith(NOT_HERE):
            continue
        cell |= {"good": is_good(cell)}
        yield {"operation": operation, "condition": condition, "share": share, "bytes": amount, **cell}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("build/hard_conditions.json"))
    parser.add_argument("--only", nargs="+", choices=OPERATIONS, default=list(OPERATIONS), metavar="NAME")
    parser.add_argument("--shares", nargs="+", type=int, default=SHARES, metavar="PERCENT")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, options.only)
        for operation in options.only:
            for cell in cells(folder, operation, options.shares):
                found.append(cell)
                where = f"{operation}, {cell['condition']} {cell.get('share', '')}"
                words = f"{cell['outcome']} {cell.get('error', '')}"
                bad = "" if cell["good"] else f" BAD {cell.get('left')} {cell.get('again')}"
                print(f"{where}: {words}{bad}", flush=True)
    good = sum(cell["good"] for cell in found)
    print(f"{len(found)} cells, {good} good, {len(found) - good} not")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if good == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
