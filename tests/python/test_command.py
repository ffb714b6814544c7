"""What all command lines share (g4v._command): exit codes, types of arguments, closed and full streams."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from g4v._command import Parser, at_least, exit_code, number_from, request_fields, run_program
from g4v.errors import VideoError


def test_exit_codes(capsys):
    def fail() -> int:
        raise VideoError("no\nfilm")

    def stop() -> int:
        raise KeyboardInterrupt

    assert (exit_code(lambda: None), exit_code(lambda: 3)) == (0, 3)
    assert exit_code(fail) == 1 and capsys.readouterr().err == "g4v: error: no film\n"
    assert exit_code(stop, "; all is kept") == 130
    assert capsys.readouterr().err == "g4v: error: interrupted; all is kept\n"
    assert run_program(stop) == 130 and capsys.readouterr().err == "g4v: error: interrupted\n"


def test_an_option_that_is_given_twice_is_refused(capsys):
    parser = Parser(prog="p")
    parser.add_argument("--base", "--checkpoint", dest="base")
    parser.add_argument_group("g").add_argument("--size", type=int)
    parser.add_argument("--part", action="append")
    parser.add_argument("names", nargs="*")
    command = parser.add_subparsers(dest="command").add_parser("run")
    command.add_argument("--steps", type=int)
    assert parser.parse_args(["--base", "a", "--part", "b", "--part", "c"]).part == ["b", "c"]
    assert parser.parse_args(["--base", "a"]).base == "a"  # a second command line is another
    for words, message in (
        (["--base", "a", "--checkpoint=b"], "--checkpoint is given twice: 'a' and 'b'; keep one"),
        (["--size", "1", "--size", "1"], "--size is given twice: 1 and 1; keep one"),
        (["x", "run", "--steps", "1", "--steps", "2"], "--steps is given twice: 1 and 2; keep one"),
    ):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(words)
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_an_error_of_a_file_is_not_taken_for_one_of_standard_output():
    def read() -> int:
        with open("/none/at/all") as file:
            return len(file.read())

    with pytest.raises(FileNotFoundError):
        run_program(read)


def test_types_of_arguments(capsys):
    assert at_least(2, 4)("3") == 3 and number_from(0.5)("0.5") == 0.5
    assert request_fields('{"a": 1}') == {"a": 1}
    for type_, text, message in (
        (at_least(2, 4), "5", "must be at least 2, at most 4, not 5"),
        (at_least(-1, 0), "1", "must be at least -1, at most 0, not 1"),
        (number_from(0.5), "nan", "must be a number of at least 0.5, not nan"),
        (request_fields, '{"model": 1}', "must be a JSON object without model"),
        (request_fields, "[" * 100_000, "must be a JSON object"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            type_(text)
    parser = Parser(prog="x")
    parser.add_argument("--n", type=at_least(1))
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(["--n", "0"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "g4v: error: argument --n: must be at least 1, not 0 (see: x --help)\n"


@pytest.mark.parametrize("command", ["g4v.data", "g4v.eval"])
class TestStreams:
    def run(self, command: str, rest: str) -> subprocess.CompletedProcess[str]:
        line = f"{sys.executable} -m {command} {rest}"
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)

    @pytest.mark.slow
    def test_closed(self, command):
        assert self.run(command, "--help >&-").returncode == 0
        assert self.run(command, "--help 2>&- >&-").returncode == 0
        assert self.run(command, "nothing 2>&-").returncode == 2

    def test_full(self, command):
        done = self.run(command, "--help >/dev/full")
        assert done.returncode == 1
        assert done.stderr == "g4v: error: standard output cannot be written: No space left on device\n"

    def test_a_reader_that_has_gone(self, command):
        done = self.run(command, "--help | true; exit ${PIPESTATUS[0]}")
        assert done.stderr == "" and done.returncode in (0, 1)
