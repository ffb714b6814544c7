"""The progress bar and the messages of the commands (g4v._console)."""

from __future__ import annotations

import io
import subprocess
import sys

from g4v._console import ProgressBar, duration, is_terminal, machine, report_error, write


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_nothing_left_of_it():
    stream = _Terminal()
    with ProgressBar("frames", 4, stream=stream) as bar:
        bar.update(2, "other frames")
        bar.step(2)
    text = stream.getvalue()
    assert "frames [------------------------------] 0/4" in text
    assert "other frames [##############################] 4/4" in text
    assert text.endswith("\r\x1b[K")


def test_lines_at_each_quarter_elsewhere_where_they_are_asked_for():
    stream = io.StringIO()
    with ProgressBar("clips", 8, lines=True, stream=stream) as bar:
        for _ in range(8):
            bar.step()
    assert [line.split(" (")[0] for line in stream.getvalue().splitlines()] == [
        "clips 0/8", "clips 2/8", "clips 4/8", "clips 6/8", "clips 8/8",
    ]  # fmt: skip
    silent = io.StringIO()
    with ProgressBar("clips", 8, stream=silent) as bar:
        bar.step(8)
    assert silent.getvalue() == ""


def test_quiet_draws_nothing():
    stream = _Terminal()
    with ProgressBar("clips", 1, quiet=True, lines=True, stream=stream) as bar:
        bar.step()
    assert stream.getvalue() == ""


def test_streams_that_are_missing_or_closed_are_no_error(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        assert not is_terminal(stream)
        write(stream, "x")
        monkeypatch.setattr(sys, "stderr", stream)
        report_error("x")
        with ProgressBar("clips", 1, lines=True) as bar:
            bar.step()


def test_an_error_is_one_line(capsys):
    report_error("a\n  b", "g4v.train")
    assert capsys.readouterr().err == "g4v.train: error: a b\n"


def test_a_process_without_stderr_goes_on():
    script = "from g4v._console import ProgressBar, report_error; report_error('x'); ProgressBar('a').step()"
    done = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, script], timeout=60)
    assert done.returncode == 0


def test_durations_and_the_machine():
    assert (duration(40), duration(180)) == ("40 s", "3 min")
    about = machine()
    assert about["cores"] >= 1 and about["cpu"] and about["python"] == sys.version.split()[0]
