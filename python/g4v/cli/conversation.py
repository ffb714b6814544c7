"""The conversation in the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._console import is_terminal, report_error, shown_path
from ..errors import Cancelled, ContextFull, Error
from .turn import TurnPrinter

if TYPE_CHECKING:
    from ..chat import Chat

_HELP = """/video FILE   the next question is about this video
/new          start a new chat, which knows nothing of this one
/help         this list
/quit         leave (or Ctrl-D)
Ctrl-C stops the answer that is under way; the conversation goes on as if that question had not been asked."""


def converse(
    open_chat: Callable[[], Chat], printer: TurnPrinter, video: str | None, frames: int | None = None
) -> int:
    """Runs turns until the input ends; returns the exit code.

    open_chat: starts a chat, the first one and one at each /new. video: file that the first question is
    about. frames: how many frames of each video are looked at. The code is 1 where the input is no terminal
    and a turn or a video of it failed, else 0.
    """
    if hasattr(sys.stdin, "reconfigure"):
        # Input that is no UTF-8 is an error of its turn, not the end of the conversation.
        sys.stdin.reconfigure(errors="surrogateescape")
    # input() needs both streams.
    terminal = is_terminal(sys.stdin) and sys.stdout is not None
    if terminal:
        # Line editing and history come with the module.
        import readline  # noqa: F401

        print("Ask something, or /help.", flush=True)
    chat = open_chat()
    failed = False
    first = True
    while (line := _read_line(terminal)) is not None:
        if first:
            line = _without_mark(line)
            first = False
        command, _, argument = line.partition(" ")
        if not line:
            continue
        if command == "/quit":
            break
        if command == "/help":
            print(_HELP, flush=True)
        elif command == "/new":
            chat, video = open_chat(), None
            print("A new chat.", flush=True)
        elif command == "/video":
            video = _choose_video(argument.strip()) or video
        elif command.startswith("/"):
            report_error(f"{command} is no command; /help lists them")
        else:
            try:
                printer.show(chat.send(line, video=video, frames=frames if video else None))
                video = None
                failed |= printer.failed
            except Cancelled:
                report_error("cancelled")
            except KeyboardInterrupt:
                if not terminal:
                    raise
                print("stopped", flush=True)
            except Error as error:
                failed = True
                hint = " (/new starts a new chat)" if isinstance(error, ContextFull) else ""
                report_error(f"{error}{hint}")
    return 1 if failed and not terminal else 0


_MARKS = ("\ufeff", "\udcef\udcbb\udcbf")  # the second where the input's encoding is ASCII
_MARKS_OF_UTF16 = ("\udcff\udcfe", "\udcfe\udcff")


def _without_mark(line: str) -> str:
    """The first line without the byte order mark that PowerShell, among others, puts before piped text."""
    if line.startswith(_MARKS_OF_UTF16):
        raise Error("standard input is UTF-16; pass it as UTF-8")
    for mark in _MARKS:
        line = line.removeprefix(mark)
    return line.strip()


def _choose_video(argument: str) -> str | None:
    path = os.path.expanduser(argument)
    if not argument:
        report_error("/video needs a file, as in: /video clip.mp4")
    elif not os.path.isfile(path):
        report_error(f"{shown_path(path)}: no such file; check the path")
    else:
        print(f"The next question is about {shown_path(path)}.", flush=True)
        return path
    return None


def _read_line(terminal: bool) -> str | None:
    """A stripped line of input; None at its end, or at a second Ctrl-C in a terminal."""
    interrupted = False
    while True:
        try:
            if terminal:
                return input("> ").strip()
            line = sys.stdin.readline() if sys.stdin is not None else ""
            return line.strip() if line else None
        except EOFError:
            print(flush=True)
            return None
        except KeyboardInterrupt:
            if not terminal:
                raise
            print(flush=True)
            if interrupted:
                return None
            interrupted = True
            print("(Ctrl-C again or Ctrl-D leaves)", flush=True)
