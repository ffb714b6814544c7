"""The conversation in the terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .._console import is_terminal, report_error
from ..errors import Cancelled, Error
from .turn import TurnPrinter

if TYPE_CHECKING:
    from ..chat import Chat

_HELP = """/video FILE   the next question is about this video
/help         this list
/quit         leave (or Ctrl-D)
Ctrl-C stops the answer that is under way; the conversation goes on as if that question had not been asked."""


def converse(chat: Chat, printer: TurnPrinter, video: str | None, frames: int | None = None) -> int:
    """Runs turns until the input ends; returns the exit code.

    video: file that the first question is about. frames: how many frames of each video are looked at. The
    code is 1 where the input is no terminal and a turn failed, else 0.
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
    failed = False
    while (line := _read_line(terminal)) is not None:
        command, _, argument = line.partition(" ")
        if not line:
            continue
        if command == "/quit":
            break
        if command == "/help":
            print(_HELP, flush=True)
        elif command == "/video":
            video = _choose_video(argument.strip()) or video
        elif command.startswith("/"):
            report_error(f"{command} is no command; /help lists them")
        else:
            try:
                printer.show(chat.send(line, video=video, frames=frames if video else None))
                video = None
            except Cancelled:
                report_error("cancelled")
            except KeyboardInterrupt:
                if not terminal:
                    raise
                print("stopped", flush=True)
            except Error as error:
                failed = True
                report_error(str(error))
    return 1 if failed and not terminal else 0


def _choose_video(argument: str) -> str | None:
    path = os.path.expanduser(argument)
    if not argument:
        report_error("/video needs a file, as in: /video clip.mp4")
    elif not os.path.isfile(path):
        report_error(f"{path}: no such file; check the path")
    else:
        print(f"The next question is about {path}.", flush=True)
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
