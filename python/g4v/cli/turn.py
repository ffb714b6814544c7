"""Shows the events of one turn as they happen."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from .._console import ProgressBar, is_terminal, printable, report_error, report_warning, shown_path, visible
from ..events import Done, Event, Progress, Refusal, Text, Video, VideoFailed, VideoPrompt, Withheld, to_json
from .common import OutputFolder, print_json


class TurnPrinter:
    """Prints text as it is decoded, a denoising bar, and where each video was written; or JSON lines."""

    def __init__(self, folder: OutputFolder, as_json: bool) -> None:
        self._folder = folder
        self._as_json = as_json
        self._in_line = False
        self.failed = False  # a video of the turn that was shown last was not made
        # What the model says may hold control characters; a file or a program gets it as it is.
        self._clean = visible if is_terminal(sys.stdout) else str

    def show(self, events: Iterable[Event]) -> None:
        """Prints the events as they come, until the turn is done; videos are written to the folder."""
        bar = ProgressBar("denoising")
        self.failed = False
        try:
            for event in events:
                if isinstance(event, VideoPrompt):
                    self._folder.check()
                if self._as_json:
                    self._print_json(event)
                else:
                    self._print(event, bar)
        finally:
            bar.clear()
            self._end_line()

    def _print_json(self, event: Event) -> None:
        values = to_json(event)
        if isinstance(event, Video):
            values["path"] = str(self._folder.save(event))
        print_json(values)
        if isinstance(event, Done):
            self._warn(event)
        elif isinstance(event, VideoFailed):
            self._fail(event)

    def _print(self, event: Event, bar: ProgressBar) -> None:
        if isinstance(event, Text):
            bar.clear()
            print(self._clean(event.text), end="", flush=True)
            self._in_line = not event.text.endswith("\n")
        elif isinstance(event, VideoPrompt):
            bar.clear()
            self._line(f"[video: {printable(event.caption)}]")
        elif isinstance(event, Progress):
            if bar.terminal:
                self._end_line()
            bar.update_of(event.step, event.steps)
        elif isinstance(event, Video):
            bar.clear()
            self._line(f"[wrote {shown_path(self._folder.save(event))}]")
        elif isinstance(event, Withheld):
            bar.clear()
            self._line(f"[withheld: {event.unsafe} of {event.frames} frames look unsafe]")
        elif isinstance(event, VideoFailed):
            bar.clear()
            self._line("[no video]")
            self._fail(event)
        elif isinstance(event, Done):
            bar.clear()
            self._end_line()
            self._warn(event)
        else:
            # The text of a refusal has been printed already.
            assert isinstance(event, Refusal)

    def _fail(self, event: VideoFailed) -> None:
        self.failed = True
        report_error(str(event.error))

    def _warn(self, done: Done) -> None:
        for warning in done.warnings:
            report_warning(warning)

    def _line(self, text: str) -> None:
        self._end_line()
        print(text, flush=True)

    def _end_line(self) -> None:
        if self._in_line:
            print(flush=True)
            self._in_line = False
