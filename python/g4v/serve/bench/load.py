"""Sends a plan's requests at their times, whatever the server does, and looks at the server meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from ...errors import RuntimeUnavailable
from . import server_metrics
from .client import Outcome, ask, session_of
from .plan import Planned, body
from .server_metrics import Samples

_HELD = ("g4v_requests_running", "g4v_requests_waiting", "g4v_videos_queued")
_MEMORY = "process_resident_memory_bytes"
_LOOKS = 40  # at the server's memory
_FREE_WITHIN = 10.0  # seconds after the last answer in which every place must be free


@dataclass
class Measured:
    """What a load found. Times are seconds, memory is bytes.

    memory: (seconds after the start, resident bytes) as the server told them; empty where it does not.
    held: places that are not free at the end; None where the server does not tell.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    before: Samples | None = None
    after: Samples | None = None
    memory: list[tuple[float, float]] = field(default_factory=list)
    held: int | None = None
    spent: float = 0.0


async def run(
    base: str,
    key: str | None,
    requests: list[Planned],
    clips: list[str],
    *,
    seconds: float,
    timeout: float,
    max_tokens: int | None,
    steps: int | None,
    progress: Callable[[float], None],
) -> Measured:
    """Runs a load of `seconds` against the server at `base`. RuntimeUnavailable: it does not answer."""
    measured = Measured()
    async with session_of(key) as session:
        await _check(session, base)
        measured.before = await server_metrics.read(session, base)
        began = time.perf_counter()

        async def one(request: Planned) -> None:
            fields = body(request, clips, max_tokens, steps)
            late = time.perf_counter() - began - request.at
            outcome = await ask(session, f"{base}/v1/chat/completions", request, fields, timeout)
            outcome.late = late
            measured.outcomes.append(outcome)

        looking = asyncio.create_task(_look(session, base, began, seconds, measured))
        try:
            async with asyncio.TaskGroup() as group:
                for request in requests:
                    await asyncio.sleep(max(0.0, request.at - (time.perf_counter() - began)))
                    progress(request.at)
                    group.create_task(one(request))
                await asyncio.sleep(max(0.0, seconds - (time.perf_counter() - began)))
        finally:
            looking.cancel()
        measured.spent = time.perf_counter() - began
        await _look_at_the_end(session, base, measured)
    return measured


async def _check(session: aiohttp.ClientSession, base: str) -> None:
    try:
        async with session.get(f"{base}/v1/models", timeout=aiohttp.ClientTimeout(total=30)) as response:
            if response.status == 200:
                return
            reason = f"/v1/models answers {response.status}"
            if response.status in (401, 403):
                reason += "; name a key with --api-key-file"
    except TimeoutError:
        reason = "it does not answer within 30 seconds"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    raise RuntimeUnavailable(f"the server at {base} cannot be measured: {reason}")


async def _look(
    session: aiohttp.ClientSession, base: str, began: float, seconds: float, measured: Measured
) -> None:
    while (samples := await server_metrics.read(session, base)) is not None:
        if (memory := samples.get((_MEMORY, ""))) is not None:
            measured.memory.append((time.perf_counter() - began, memory))
        await asyncio.sleep(max(0.5, seconds / _LOOKS))


async def _look_at_the_end(session: aiohttp.ClientSession, base: str, measured: Measured) -> None:
    until = time.perf_counter() + _FREE_WITHIN
    while (samples := await server_metrics.read(session, base)) is not None:
        measured.after = samples
        held = [samples[name, ""] for name in _HELD if (name, "") in samples]
        measured.held = int(sum(held)) if held else None
        if not measured.held or time.perf_counter() > until:
            break
        await asyncio.sleep(0.1)
    if samples is not None and (memory := samples.get((_MEMORY, ""))) is not None:
        measured.memory.append((measured.spent, memory))
