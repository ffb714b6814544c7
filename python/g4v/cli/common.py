"""What the subcommands share: arguments, messages, the output folder and the progress bar."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import Error
from ..frame_checkers import FRAME_CHECKERS, frame_checker

if TYPE_CHECKING:
    from ..assistant import Assistant
    from ..events import Video


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        report_error(f"{message} (see: {self.prog} --help)")
        raise SystemExit(2)


def report_error(message: str) -> None:
    _report("error", message)


def exit_code(run: Callable[[], int | None], kept: str = "") -> int:
    """Runs a command: 0 or what it returns, 1 after an error, 130 after Ctrl-C.

    kept: what is said of results after Ctrl-C.
    """
    try:
        return run() or 0
    except Error as error:
        report_error(str(error))
        return 1
    except KeyboardInterrupt:
        report_error(f"interrupted{kept}")
        return 130


def report_warning(message: str) -> None:
    _report("warning", message)


def _report(kind: str, message: str) -> None:
    line = " ".join(message.split())
    print(f"g4v: {kind}: {line}", file=sys.stderr, flush=True)


def add_assistant_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("assistant")
    group.add_argument("--bundle", default="tiny", metavar="NAME|DIR", help="bundle to load (default: tiny)")
    group.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: one for each core)")


def add_video_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("making videos")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same result (default: 0)")
    group.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the bundle's)")
    group.add_argument(
        "--guidance-scale",
        type=float,
        metavar="X",
        help="how closely to follow the words (default: the bundle's)",
    )
    group.add_argument(
        "--frame-checker",
        choices=tuple(FRAME_CHECKERS),
        help="a further look at generated videos, before they are written: nudenet finds nudity and must be "
        "installed (default: the bundle's own checker alone)",
    )


def load(arguments: argparse.Namespace) -> Assistant:
    from .. import load as load_assistant

    name = getattr(arguments, "frame_checker", None)
    return load_assistant(
        arguments.bundle,
        device=arguments.device,
        threads=arguments.threads,
        frame_checker=frame_checker(name) if name else None,
    )


def print_json(values: dict[str, Any]) -> None:
    print(json.dumps(values, ensure_ascii=False), flush=True)


class OutputFolder:
    """Where videos go. Checked when entered, before any work; left as it was where nothing is written."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._made: list[Path] = []

    def __enter__(self) -> OutputFolder:
        from .._encode import check_folder

        self._made = [p for p in (self._path, *self._path.parents) if not p.exists()]
        check_folder(self._path)
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return

    def save(self, video: Video) -> Path:
        """Writes the video under the first free name: video-1.mp4, video-2.mp4, ..."""
        number = 1
        while (path := self._path / f"video-{number}.mp4").exists():
            number += 1
        return video.save(path)


class ProgressBar:
    """One line on stderr, only where that is a terminal."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._shown = False
        self.active = sys.stderr.isatty()

    def show(self, step: int, steps: int) -> None:
        if not self.active:
            return
        width = 30
        full = width * step // steps
        bar = "#" * full + "-" * (width - full)
        sys.stderr.write(f"\r\x1b[K{self._label} [{bar}] {step}/{steps}")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False
