"""Many requests at once, until all are answered or the run is to stop."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from g4v.data.endpoint.budget import BudgetSpent
from g4v.data.endpoint.client import Endpoint, RequestFailed, Stopped
from g4v.data.endpoint.completions import RequestSettings

T = TypeVar("T")


@dataclass
class Outcome:
    """How a run ended: `stopped` is "" or why it ended early; `failed` is (item's name, reason)."""

    stopped: str = ""
    interrupted: bool = False
    failed: list[tuple[str, str]] = field(default_factory=list)


async def run_all(
    items: Iterable[T],
    ask: Callable[[T], Awaitable[None]],
    name: Callable[[T], str],
    settings: RequestSettings,
    endpoint: Endpoint,
    step: Callable[[], None],
) -> Outcome:
    """Calls `ask` for every item, `settings.concurrency` at once.

    The run ends early at the bounds of `settings` and of the endpoint's budget. An item whose request fails
    is noted under its name, and the others go on. step: called once for each item that is finished with.
    EndpointError where the endpoint refuses all.
    """
    outcome = Outcome()
    queue = iter(items)
    end = time.monotonic() + 60 * settings.minutes if settings.minutes is not None else None
    failures = 0

    def finish(reason: str) -> None:
        outcome.stopped = outcome.stopped or reason
        endpoint.stop.set()

    async def work() -> None:
        nonlocal failures
        for item in queue:
            if end is not None and time.monotonic() >= end:
                finish("the time limit is reached")
            if endpoint.stop.is_set():
                return
            try:
                await ask(item)
                failures = 0
            except Stopped:
                return
            except BudgetSpent as spent:
                finish(str(spent))
                return
            except RequestFailed as failed:
                outcome.failed.append((name(item), str(failed)))
                failures += 1
                if failures >= settings.most_failures:
                    finish(f"{failures} items in a row got no answer; the last: {failed}")
            step()

    await _gather_until_stopped([work() for _ in range(settings.concurrency)], endpoint, outcome)
    return outcome


async def _gather_until_stopped(work: list[Any], endpoint: Endpoint, outcome: Outcome) -> None:
    """Runs the workers. The first Ctrl-C waits for the answers under way, which are paid for; the second
    gives them up.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if outcome.interrupted:
            for task in tasks:
                task.cancel()
        outcome.interrupted = True
        outcome.stopped = "interrupted"
        endpoint.stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ValueError, RuntimeError, NotImplementedError):  # not in the main thread
            loop.add_signal_handler(number, interrupt)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((t for t in done if not t.cancelled() and t.exception()), None)
        if failed is not None:
            endpoint.stop.set()
            # Answers under way are paid for, too; but an endpoint that refuses all, or a full disk, has none.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise failed.exception() or AssertionError
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError, RuntimeError, NotImplementedError):
                loop.remove_signal_handler(number)
