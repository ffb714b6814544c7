"""The places of the answers that run, and the line of those that wait for one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator

from .errors import ApiError
from .metrics import Metrics


class Places:
    """At most `max_running` have a place, at most `max_queued` wait. Used on the event loop alone."""

    def __init__(self, metrics: Metrics, max_running: int, max_queued: int) -> None:
        self._metrics, self._max_running, self._max_queued = metrics, max_running, max_queued
        self._line: deque[asyncio.Future[None]] = deque()
        self._seconds = 1.0  # that a place is held, about
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    def check(self, coming: int) -> None:
        """ApiError (429): `coming` have asked already and not entered yet, and that many may not wait."""
        if self.running + coming >= self._max_running + self._max_queued:
            raise self.busy(f"{self._max_queued} requests wait already", "queue_full")

    def busy(self, reason: str, code: str) -> ApiError:
        """429, with the seconds after which there is room, about."""
        seconds = (len(self._line) + 1) * self._seconds / self._max_running
        headers = {"Retry-After": str(min(max(round(seconds), 1), 60))}
        return ApiError(429, f"the server is busy: {reason}; try again later", code, headers=headers)

    @contextlib.asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """A place, in the order of coming; it is free again when the block ends."""
        began = time.monotonic()
        if self.running < self._max_running and not self._line:
            self.running += 1
        else:
            await self._wait()
        entered = time.monotonic()
        self._metrics.queue.observe(entered - began)
        try:
            yield
        finally:
            self._seconds += 0.2 * (time.monotonic() - entered - self._seconds)
            self._leave()

    async def _wait(self) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(mine)
        try:
            await mine  # who leaves hands the place on
        except asyncio.CancelledError:
            if mine in self._line:
                self._line.remove(mine)
            elif not mine.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._line:
            following = self._line.popleft()
            if not following.done():
                following.set_result(None)
                return
        self.running -= 1
