"""`python -m g4v.train.pack`: what a run has trained, small enough to be handed on.

Copies the abstractor and the adapter, with weights in float16, the curves and the description. The frozen
parts stay where they are: --part says where. Of the language model only the name is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from g4v._command import run_program
from g4v._console import report_error
from g4v._files import atomic_folder, read_json, write_json
from g4v.errors import Error
from g4v.train.command import Parser
from g4v.train.errors import TrainingError

_TRAINED = ("abstractor", "adapter")
_PARTS = ("encoder", "frame_checker", "t2v")


def pack_run(run: Path, out: Path, parts: dict[str, str], llm: str, command: str, data: str) -> int:
    """Packs the finished run in the folder `run` into the folder `out`; returns the size in bytes.

    parts: part -> its folder as g4v_train.json names it, relative to `out`. llm: name of the language model.
    command, data: how the run was made, for the description. TrainingError: the run is not finished, a part
    is not there, or a weight is too large for float16.
    """
    about = read_json(run / "g4v_train.json", TrainingError)
    for part in _TRAINED:
        if not (run / part).is_dir():
            raise TrainingError(f"{run / part}: no such folder: the run is not finished")
    for part, place in parts.items():
        if part not in _PARTS:
            raise TrainingError(f"--part {part}: is none of {', '.join(_PARTS)}")
        folder = Path(os.path.normpath(out / place))  # `out` need not be there yet
        if not folder.is_dir():
            raise TrainingError(f"{folder}: no such folder")
    with atomic_folder(out, TrainingError) as work:
        for part in _TRAINED:
            _copy_rounded(run / part, work / part)
        curves = work / "curves"
        for stage in sorted((run / "work").glob("*/curves.png")):
            curves.mkdir(exist_ok=True)
            shutil.copyfile(stage, curves / f"{stage.parent.name}.png")
        provenance = {"command": command, "data": data, "llm": llm, **about["provenance"]}
        description = {**about, "provenance": provenance, "parts": parts}
        write_json(work / "g4v_train.json", description, TrainingError)
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def _copy_rounded(source: Path, target: Path) -> None:
    # Late: --help works without the extra `train`.
    from safetensors.torch import load_file, save_file

    from g4v.train.outputs import to_half

    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix != ".safetensors":
            shutil.copyfile(path, target / path.name)
            continue
        tensors = {name: t.contiguous() for name, t in to_half(load_file(path), path).items()}
        save_file(tensors, target / path.name, {"format": "pt"})


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
    try:
        parts = {}
        for text in options.part:
            part, sign, place = text.partition("=")
            if not sign:
                raise TrainingError(f"--part {text}: write PART=FOLDER")
            parts[part] = place
        size = pack_run(options.run, options.out, parts, options.llm, options.command, options.about_data)
    except Error as error:
        report_error(str(error), "g4v.train.pack")
        return 1
    except ImportError as error:
        report_error(f'{error}; install the extra: pip install "g4v[train]"', "g4v.train.pack")
        return 1
    except KeyboardInterrupt:
        report_error("interrupted", "g4v.train.pack")
        return 130
    print(json.dumps({"out": str(options.out), "bytes": size}))
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
