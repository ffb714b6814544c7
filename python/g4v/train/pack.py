"""`python -m g4v.train.pack`: what a run has trained, small enough to be handed on.

The abstractor and the adapter with weights in float16, the curves and the description. The frozen parts stay
where they are: --part says where, the language model's name is all that is kept of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from g4v.cli.common import Parser, exit_code
from g4v.train.errors import TrainingError
from g4v.train.files import read_json, whole_folder, write_json

_TRAINED = ("abstractor", "adapter")
_PARTS = ("encoder", "frame_checker", "t2v")


def pack_run(run: Path, out: Path, parts: dict[str, str], llm: str, command: str, data: str) -> int:
    """Writes `out`; returns its bytes. TrainingError where the run is unfinished or something is not there.

    parts: part -> its folder as g4v_train.json names it, relative to `out`. llm: name of the language model.
    command, data: how the run was made, for the description.
    """
    about = read_json(run / "g4v_train.json")
    for part in _TRAINED:
        if not (run / part).is_dir():
            raise TrainingError(f"{run / part}: no such folder: the run is not finished")
    for part, place in parts.items():
        if part not in _PARTS:
            raise TrainingError(f"--part {part}: is none of {', '.join(_PARTS)}")
        folder = Path(os.path.normpath(out / place))  # `out` need not be there yet
        if not folder.is_dir():
            raise TrainingError(f"{folder}: no such folder")
    with whole_folder(out) as work:
        for part in _TRAINED:
            _copy_rounded(run / part, work / part)
        curves = work / "curves"
        for stage in sorted((run / "work").glob("*/curves.png")):
            curves.mkdir(exist_ok=True)
            shutil.copyfile(stage, curves / f"{stage.parent.name}.png")
        provenance = {"command": command, "data": data, "llm": llm, **about["provenance"]}
        write_json(work / "g4v_train.json", {**about, "provenance": provenance, "parts": parts})
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def _copy_rounded(source: Path, target: Path) -> None:
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix != ".safetensors":
            shutil.copyfile(path, target / path.name)
            continue
        tensors = load_file(path)
        rounded = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
        for name, tensor in rounded.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise TrainingError(f"{path}: {name} is too large for float16")
        save_file({name: t.contiguous() for name, t in rounded.items()}, target / path.name, {"format": "pt"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    parser = Parser(
        prog="python -m g4v.train.pack",
        description=__doc__.split("\n\n", 1)[1] if __doc__ else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="a finished run")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the result; it is replaced")
    add("--llm", required=True, metavar="NAME", help="name of the language model, which is not stored")
    add("--part", action="append", default=[], metavar="PART=FOLDER", help="relative to DIR; repeatable")
    add("--command", default="", metavar="TEXT", help="how the run was made")
    add("--about-data", default="", metavar="TEXT", help="what it learned from")
    options = parser.parse_args(arguments)

    def run() -> None:
        parts = {}
        for text in options.part:
            part, sign, place = text.partition("=")
            if not sign:
                raise TrainingError(f"--part {text}: write PART=FOLDER")
            parts[part] = place
        size = pack_run(options.run, options.out, parts, options.llm, options.command, options.about_data)
        print(json.dumps({"out": str(options.out), "bytes": size}))

    return exit_code(run)


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
