"""The first and the last moments of a program of g4v, in which nothing of it can catch Ctrl-C.

Python answers Ctrl-C with KeyboardInterrupt, which shows a traceback wherever it is not caught: while modules
are imported, and when the interpreter ends. In a program of g4v it is there one line and exit code 130. A
program that merely imports g4v is left as it is.

It also keeps ONNX Runtime, whoever imports it after g4v, from sending what it does to its makers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

_WITH_MODULE = "-m"


def is_program() -> bool:
    """Whether this process is a command of g4v: `g4v`, `python -m g4v`, `python -m g4v.train`, ..."""
    given = sys.orig_argv
    if _WITH_MODULE in given[:-1]:
        place = given.index(_WITH_MODULE)
        # Else it is an argument of another program.
        return given[place + 2 :] == sys.argv[1:] and given[place + 1].partition(".")[0] == "g4v"
    return os.path.basename(sys.argv[0] if sys.argv else "") in ("g4v", "g4v.exe")


def end_quietly_on_interrupt() -> None:
    """From now on Ctrl-C ends the process with one line and exit code 130.

    Does nothing where this process is no command of g4v, or where Ctrl-C is ignored, as in the background.
    """
    try:
        if _PROGRAM and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _end)
    except ValueError:  # not in the main thread
        pass


def raise_on_interrupt() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again, for a program that catches it."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around imports of large libraries, before any work: Ctrl-C ends the process.

    An exception in the middle of them is no way out: some catch it and go on half imported.
    """
    before = signal.getsignal(signal.SIGINT)
    end_quietly_on_interrupt()
    yield
    if before is signal.default_int_handler:
        raise_on_interrupt()


def _end(*_: object) -> None:
    try:
        os.write(2, b"g4v: error: interrupted\n")
    except OSError:  # stderr is closed
        pass
    os._exit(130)


# From 1.29 on it does: a thread, a file in the user's cache, the network. Who sets the variable is obeyed.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
_PROGRAM = is_program()
end_quietly_on_interrupt()
