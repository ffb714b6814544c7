"""`python -m g4v.train`: the command line of the trainer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from g4v import _command, _start
from g4v._console import report_error
from g4v._memory import memory_errors
from g4v.errors import Error
from g4v.train.configuration import field_types, load_settings
from g4v.train.errors import AbortedByPeer, TrainingError
from g4v.train.settings import PRESETS, STAGES, Settings

_DEFAULT_CONFIG = Path("g4v-train.yaml")
_EPILOG = """\
Without a stage, stage 1 and stage 2 are trained one after the other into the same OUT, which
`python -m g4v.export --checkpoint OUT` then reads. Data of the two stages usually differ: a configuration
file has a section for each,

    base: runs/mplug-owl            # from python -m g4v.model.bases convert
    stage1: {data: [videochat.json], video_root: videos}
    stage2: {data: [gpt4video.json]}

and g4v-train.yaml in the current folder is read where no --config is given. In the names of options dashes
and underscores are the same.

    python -m g4v.train --devices 2 --max_epochs 10
    python -m g4v.train stage1 --encoder openai/clip-vit-large-patch14 --llm DIR --data videochat.json
    python -m g4v.train --preset gpt4video-7b --devices 8 --strategy fsdp --dry-run

`python -m g4v.train tiny --help` trains the embedded default instead, from nothing.
"""


class Parser(_command.Utf8Parser):
    """The parser of the trainer's commands."""

    program = "g4v.train"


def build_parser() -> argparse.ArgumentParser:
    """Every setting that is not for YAML files alone becomes an option of the same name."""
    parser = Parser(
        prog="python -m g4v.train",
        description="Trains the abstractor (stage 1) and the LoRA (stage 2) of a GPT4Video assistant.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "stage", nargs="?", choices=STAGES, help="which stage to train; default: both in turn"
    )
    parser.add_argument("--preset", choices=PRESETS, help="settings to start from")
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings")
    groups: dict[str, Any] = {}
    for item in fields(Settings):
        name = item.metadata["group"]
        if name == "yaml":
            continue
        group = groups.setdefault(name, parser.add_argument_group(name))
        kind, _ = field_types()[item.name]
        silent = item.default is None or item.default == () or isinstance(item.default, bool)
        default = "" if silent else f" (default: {_text(item.default)})"
        options: dict[str, Any] = {"help": item.metadata["help"] + default, "default": argparse.SUPPRESS}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = {int: "N", float: "X"}.get(kind, "TEXT")
            options["type"] = str if kind is tuple else kind
            if item.metadata["choices"]:
                options["choices"] = item.metadata["choices"]
                del options["metavar"]
            if kind is tuple:
                options["action"] = "append"
        group.add_argument("--" + item.name.replace("_", "-"), **options)
    return parser


def _text(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _with_dashes(arguments: Sequence[str]) -> list[str]:
    """--max_epochs=3 -> --max-epochs=3: the authors' command has underscores."""
    changed = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        changed.append((name.replace("_", "-") if name.startswith("--") else name) + equals + value)
    return changed


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code.

    0 done, 1 failed (one line says why), 2 wrong usage, 130 after Ctrl-C.
    """
    given = vars(build_parser().parse_args(_with_dashes(arguments)))
    stage, preset, config = given.pop("stage"), given.pop("preset"), given.pop("config")
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    if config is None and _DEFAULT_CONFIG.is_file():
        config = _DEFAULT_CONFIG
    try:
        stages = (stage,) if stage else STAGES
        chosen = [load_settings(name, preset, config, given) for name in stages]
        for name, settings in zip(stages, chosen, strict=True):
            with memory_errors(name):
                done = _run_stage(name, settings)
            if not done:
                break
    except AbortedByPeer:
        return 1  # the first process has said why
    except (Error, OSError, MemoryError) as error:  # OSError: a full disk, wherever it shows
        report_error(str(error), "g4v.train")
        return 1
    except ImportError as error:
        report_error(f'{error}; install the extra: pip install "g4v[train]"', "g4v.train")
        return 1
    except (KeyboardInterrupt, SystemExit):
        report_error("interrupted; give the same command with --resume to go on", "g4v.train")
        return 130
    return 0


def _run_stage(stage: str, settings: Settings) -> bool:
    """Trains a stage, or prints what it needs. Whether the next stage is to follow."""
    out = Path(settings.out)
    if out.exists() and not out.is_dir():
        raise TrainingError(f"--out {out}: is a file; name a folder")
    if settings.dry_run:
        with _start.importing():
            from g4v.train.estimate import print_estimate

        print_estimate(settings, stage)
        return True
    with _start.importing():
        from g4v.train.run import is_first_process, run_stage

    done = run_stage(settings, stage)
    if not done and is_first_process():
        print(f"{stage}: stopped by --minutes; give the same command with --resume to go on", file=sys.stderr)
    return done
