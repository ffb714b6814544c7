"""One thread that reads the events of all turns and videos that are under way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from ..._stream import Events
from ...events import Event

Deliver = Callable[[list[Event], BaseException | None, bool], None]
"""Gets events, the error that ended them, and whether they have ended. Called on the pump's thread."""

_ALONE = 0.005  # seconds of one wait where nothing else is read; a stream that is added waits at most so long
_TOGETHER = 0.001


class Pump:
    """Reads streams until they end. Cancelling is the stream's own business: it ends then."""

    def __init__(self) -> None:
        self._streams: dict[Events, Deliver] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, events: Events, deliver: Deliver) -> None:
        """Reads these events, too."""
        with self._changed:
            self._streams[events] = deliver
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="g4v-pump", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Ends the thread; what is still read is left."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        turn = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._streams or self._closed)
                if self._closed:
                    return
            turn += 1
            self._look(turn)

    def _look(self, turn: int) -> None:
        """Reads what is there of each stream. No name outlives it: chats that have ended are let go."""
        with self._changed:
            streams = list(self._streams.items())
        # Each in turn is the one that is waited for.
        waits = turn % len(streams)
        pause = _ALONE if len(streams) == 1 else _TOGETHER
        for place, (events, deliver) in enumerate(streams):
            if self._read(events, deliver, pause if place == waits else 0.0):
                with self._changed:
                    del self._streams[events]

    @staticmethod
    def _read(events: Events, deliver: Deliver, seconds: float) -> bool:
        """Delivers what is there; whether the stream has ended."""
        found: list[Event] = []
        fault: BaseException | None = None
        try:
            while not events.ended and (event := events.poll(0.0 if found else seconds)) is not None:
                found.append(event)
        except Exception as error:
            fault = error.with_traceback(None)  # which would hold this frame, and it the chat
        ended = events.ended or fault is not None
        if ended:
            events.close()  # also waits until the turn has stopped, so that the chat is free
        if found or ended:
            with contextlib.suppress(RuntimeError):  # the event loop has ended
                deliver(found, fault, ended)
        return ended
