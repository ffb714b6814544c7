"""What does it take to export the published mPLUG-Owl video checkpoint (7B), in place and in int4?

    python benchmarks/export_published.py [--layers 2] [--work DIR] [--json FILE]

Writes checkpoints with random weights in the layout in which MAGAer13/mplug-owl-llama-7b-video is published
(two pickled shards in float16, a ViT-L/14 with the temporal path, the abstractor, and LLaMA-7B). The first
has all 32 layers and is asked for its needs by `--dry-run`; its tensors take no disk. The second has --layers
of them, and is exported for real with `python -m g4v.export --base` in a process of its own. Measured: what
the dry run estimates for it, the process's peak resident memory, which counts mapped files, and its time. The
peak does not depend on the number of layers: every matrix is read, written and forgotten. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from g4v._console import machine
from g4v._files import read_json, write_json

ALL_LAYERS = 32
# The writers of published layouts are those of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))


def write(folder: Path, layers: int, hollow: bool) -> None:
    import torch

    from published import FULL_ABSTRACTOR, FULL_LLAMA, FULL_TOWER, train_tokenizer, write_owl

    torch.manual_seed(0)
    write_owl(
        folder,
        train_tokenizer(),
        FULL_TOWER,
        FULL_ABSTRACTOR,
        {**FULL_LLAMA, "num_hidden_layers": layers},
        4096,
        torch.float16,
        hollow,
        vocabulary=32000,
    )


def run(words: list[str]) -> tuple[str, float, int]:
    """What a command prints, its seconds, and the peak of its resident memory in bytes."""
    start = time.monotonic()
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return done.stdout, round(time.monotonic() - start, 1), peak


def export(base: Path, out: Path, *more: str) -> tuple[str, float, int]:
    words = [sys.executable, "-m", "g4v.export", "--base", str(base), "--out", str(out)]
    # As the whole model is rounded by default; one that is cut down would be calibrated.
    return run([*words, "--precision", "int4", "--calibration", "none", *more])


def estimated(printed: str) -> float:
    """Bytes of "memory of the export" in what a dry run prints."""
    found = re.search(r"memory of the export: about ([\d.]+) (MB|GB)", printed)
    assert found, printed
    return float(found[1]) * {"MB": 1e6, "GB": 1e9}[found[2]]


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--layers", type=int, default=2, help="of the checkpoint that is exported for real")
    parser.add_argument("--work", type=Path, help="a folder with room for checkpoint and bundle")
    parser.add_argument("--json", type=Path, help="also write the numbers into this file")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.layers, hollow=False)
        return 0
    work = Path(tempfile.mkdtemp(dir=options.work))
    found: dict[str, Any] = {"machine": machine(), "precision": "int4"}
    try:
        write(work / "whole", ALL_LAYERS, hollow=True)
        printed = export(work / "whole", work / "none", "--dry-run")[0]
        print(printed, flush=True)
        found["whole"] = {"layers": ALL_LAYERS, "estimated_peak_bytes": estimated(printed)}
        # In a process of its own, whose memory it gives back.
        words = [sys.executable, __file__, "--layers", str(options.layers), "--write", str(work / "part")]
        subprocess.run(words, check=True)
        printed = export(work / "part", work / "none", "--dry-run")[0]
        lines, seconds, children = export(work / "part", work / "bundle")
        print(lines, flush=True)
        # The exporter resets the system's measurement of the peak at every component.
        steps = [part["peak_bytes"] or 0 for part in read_json(work / "bundle" / "report.json")["components"]]
        peak = max(steps) or children
        found["part"] = {
            "layers": options.layers,
            "estimated_peak_bytes": estimated(printed),
            "peak_bytes": peak,
            "peak_over_estimate": round(peak / estimated(printed), 3),
            "seconds": seconds,
            "bundle_bytes": sum(file.stat().st_size for file in (work / "bundle").iterdir()),
        }
    finally:
        shutil.rmtree(work)
    if options.json:
        write_json(options.json, found)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
