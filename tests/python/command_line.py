"""Runs the command line as a person does: another process, its exit code, its two streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Shorter than any test may take, longer than any of these commands does on a busy machine.
_PATIENCE = 120


def g4v(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """`python -m g4v ARGUMENTS`; options are those of subprocess.run."""
    settings: dict[str, object] = {"capture_output": True, "text": True, "timeout": _PATIENCE} | options
    if "input" not in settings:
        settings.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([sys.executable, "-m", "g4v", *map(str, arguments)], **settings)


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """The same without waiting."""
    settings: dict[str, object] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "stdin": subprocess.DEVNULL,
        "text": True,
    }
    return subprocess.Popen([sys.executable, "-m", "g4v", *map(str, arguments)], **(settings | options))


def assert_one_line_error(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    """This exit code, nothing on stdout, and one line on stderr that has the parts."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("g4v: error: ") and done.stderr.count("\n") == 1, done.stderr
    for part in parts:
        assert part in done.stderr


def without(module: str, folder: Path) -> dict[str, str]:
    """An environment in which importing `module` fails, as where it is not installed."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.modules[{module!r}] = None  # makes `import` raise ModuleNotFoundError\n"
    )
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
