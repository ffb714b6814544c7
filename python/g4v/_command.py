"""What every command line of g4v shares: the parser, types of arguments, standard streams and exit codes.

Exit codes: 0 done, 1 failed or incomplete, 2 wrong usage, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from g4v import _start
from g4v._console import report_error
from g4v._memory import memory_errors
from g4v.errors import ArgumentError, Error

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class _StoreOnce(argparse.Action):
    """What argparse does with an option that has a value, but for one that is given again."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        given = getattr(parser, "given", None)
        if given is not None and self.option_strings:
            if self.dest in given:
                parser.error(f"{option_string} is given twice: {given[self.dest]!r} and {values!r}; keep one")
            given[self.dest] = values
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, exit code 2; an option that cannot be repeated is refused
    where it is. program: what that line begins with.
    """

    program = "g4v"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.given: dict[str, Any] = {}  # options of the command line that is parsed
        for name in (None, "store"):
            self.register("action", name, _StoreOnce)

    def error(self, message: str) -> NoReturn:
        report_error(f"{message} (see: {self.prog} --help)", self.program)
        raise SystemExit(2)

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        """Parses as argparse does, but the subcommand that knows the rest refuses an unknown argument."""
        self.given = {}
        namespace, unknown = super().parse_known_args(*arguments, **options)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown


class Utf8Parser(Parser):
    """The parser of a program whose libraries open no file with a name that is no UTF-8: it is refused."""

    def parse_args(self, *arguments: Any, **options: Any) -> Any:
        namespace = super().parse_args(*arguments, **options)
        for value in vars(namespace).values():
            for part in value if isinstance(value, (list, tuple)) else (value,):
                text = str(part) if isinstance(part, (str, Path)) else ""
                try:
                    text.encode("utf-8")
                except UnicodeEncodeError:
                    self.error(f"{ascii(text)} is not UTF-8, which PyTorch's file formats need; rename it")
        return namespace


def run_program(command: Callable[[], int], program: str = "g4v") -> int:
    """Runs a whole program and returns its exit code; standard streams may be closed, full or narrow.

    Where stdout cannot show a character it gets a question mark, and stderr, where names of files are, an
    escape. Where the reader of stdout has gone, as
    in `g4v ... | head`, the code is 1 without a message; where stdout cannot be written, 1 with one. Ctrl-C
    is 130. Where there is no memory the code is 1, with one line. Use it around all that a program does;
    errors of g4v are the command's own business (`exit_code`). program: what a line on stderr begins with.
    """
    _fill_closed_streams()
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)
    _start.raise_on_interrupt()
    try:
        return _run(command, program)
    finally:
        _start.end_quietly_on_interrupt()


def _run(command: Callable[[], int], program: str) -> int:
    try:
        try:
            with memory_errors("this"):
                return command()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        _start.end_quietly_on_interrupt()
        report_error("interrupted")
        return 130
    except MemoryError as error:
        report_error(str(error), program)
        return 1
    except BrokenPipeError:
        _drop_stdout()
        return 1
    except OSError as error:
        if isinstance(error, Error) or error.filename is not None:
            raise  # of a file, and no fault of a standard stream
        _drop_stdout()
        report_error(f"standard output cannot be written: {error.strerror}")
        return 1


def _fill_closed_streams() -> None:
    """Opens nothing at the numbers of closed streams. Else the next file that is opened would have such a
    number, and what a library prints would be written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            if os.open(os.devnull, os.O_RDWR) != number:  # the lowest free number
                return


def _drop_stdout() -> None:
    """Python flushes once more when it ends, and would complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(run: Callable[[], int | None], kept: str = "") -> int:
    """Runs a command: 0 or what it returns, 1 after an `Error`, 130 after Ctrl-C, each told in one line.

    kept: what is said of results after Ctrl-C, such as "; what was answered is kept".
    """
    try:
        return run() or 0
    except Error as error:
        report_error(str(error))
        return 1
    except KeyboardInterrupt:
        _start.end_quietly_on_interrupt()
        report_error(f"interrupted{kept}")
        return 130


def add_assistant_arguments(parser: argparse.ArgumentParser) -> None:
    """--bundle, --device and --threads: which assistant is loaded, and where it runs."""
    group = parser.add_argument_group("assistant")
    group.add_argument("--bundle", default="tiny", metavar="NAME|DIR", help="bundle to load (default: tiny)")
    group.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: one for each core)")


def at_least(low: int, high: int | None = None) -> Callable[[str], int]:
    """The type of an argument: an integer from `low` on, or from `low` to `high`."""

    def integer(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(
                f"must be at least {low}{f', at most {high}' if high is not None else ''}, not {value}"
            )
        return value

    return integer


def writable_file(text: str) -> Path:
    """The type of an argument: a file that is written at the end, refused at once where it cannot be."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; name a file")
    place = next(folder for folder in path.absolute().parents if folder.exists())
    if not place.is_dir():
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {place} is a file, and no folder")
    if not os.access(place, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written: no permission in {place}")
    return path


def number_from(low: float) -> Callable[[str], float]:
    """The type of an argument: a number from `low` on, below 1e9."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value < 1e9:
            raise argparse.ArgumentTypeError(f"must be a number of at least {low}, not {text}")
        return value

    return number


def size(text: str) -> int:
    """The type of an argument: bytes of "64M", with the units K, M, G and T (of 1024)."""
    match = re.fullmatch(r"([0-9]{1,12})([KMGT]?)(?:i?B)?", text, re.I)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size, such as 64M or 2G")
    return int(match[1]) * _UNITS[match[2].upper()]


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """The type of an argument: seconds of "24h", with the units s, m, h and d.

    argparse.ArgumentTypeError: another form.
    """
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time, such as 30s, 10m or 24h")
    return number_from(0)(match[1]) * _SECONDS[match[2] or "s"]


def request_fields(text: str) -> dict[str, Any]:
    """The type of an argument: a JSON object, fields of a request to an OpenAI-compatible endpoint."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or {"model", "messages", "stream", "n"} & set(value):
        raise argparse.ArgumentTypeError("must be a JSON object without model, messages, stream and n")
    return value


def system_text(argument: str) -> str:
    """The content of the file of that name where there is one, else the argument itself.

    ArgumentError: the file cannot be read or is not UTF-8, or the argument looks like a path that leads
    nowhere.
    """
    try:
        if argument and Path(argument).is_dir():
            raise ArgumentError(f"--system {argument}: is a folder; name a file, or write the text itself")
        if not Path(argument).is_file():
            if not argument.split()[1:] and (os.sep in argument or argument.endswith(".txt")):
                raise ArgumentError(f"--system {argument}: no such file; check the path")
            return argument
        return Path(argument).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ArgumentError(f"--system {argument}: the file is not UTF-8 text; convert it") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR):
            return argument
        raise ArgumentError(f"--system {argument}: cannot be read: {error.strerror}") from None
