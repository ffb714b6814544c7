"""One request of the load, timed as its client sees it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .plan import Planned

_LINE = 1 << 24  # bytes of the longest event


@dataclass
class Outcome:
    """How a request went. Times are seconds.

    kind: that of the request. late: from its time in the plan until it was sent. status: of HTTP, 0 where
    none came. error: a word, "" where all went well. first: until the first text. gaps: between texts.
    whole: until the end. left: the client went early, as planned. videos: how many came, by status, with the
    code of the error where there is one.
    """

    kind: str
    late: float = 0.0
    status: int = 0
    error: str = ""
    first: float | None = None
    gaps: list[float] = field(default_factory=list)
    whole: float = 0.0
    left: bool = False
    videos: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the whole answer came."""
        return self.status == 200 and not self.error and not self.left


class _Leaves(Exception):
    """The client goes, as planned."""


async def ask(
    session: aiohttp.ClientSession, url: str, request: Planned, fields: dict[str, Any], timeout: float
) -> Outcome:
    """Sends a request and reads its answer. url: of the route. timeout: seconds for all of it."""
    outcome = Outcome(request.kind)
    began = time.perf_counter()
    patience = request.leaves if request.leaves is not None and not request.stream else timeout
    try:
        async with asyncio.timeout(patience), session.post(url, json=fields) as response:
            outcome.status = response.status
            if response.status != 200:
                outcome.error = _code(await response.text())
            elif request.stream:
                await _read_stream(response, request, outcome, began)
            else:
                await response.read()
    except _Leaves:
        outcome.left = True
    except TimeoutError:
        outcome.left = patience != timeout
        outcome.error = "" if outcome.left else "client_timeout"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        outcome.error = type(error).__name__
    outcome.whole = time.perf_counter() - began
    return outcome


async def _read_stream(
    response: aiohttp.ClientResponse, request: Planned, outcome: Outcome, began: float
) -> None:
    videos: dict[int, str] = {}
    last: float | None = None
    pieces = 0
    done = False
    if request.leaves == 0:
        raise _Leaves
    while line := await response.content.readuntil(b"\n"):
        now = time.perf_counter()
        if not line.startswith(b"data: "):
            continue
        data = line[6:].strip()
        if data == b"[DONE]":
            done = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            outcome.error = str(chunk["error"].get("code") or "error")
            continue
        for choice in chunk.get("choices", ()):
            delta = choice.get("delta", {})
            if delta.get("content") or delta.get("refusal"):
                if last is None:
                    outcome.first = now - began
                else:
                    outcome.gaps.append(now - last)
                last = now
            for video in delta.get("videos", ()):
                code = (video.get("error") or {}).get("code")
                videos[video["index"]] = f"{video['status']}: {code}" if code else video["status"]
        pieces += 1
        if request.leaves is not None and pieces >= request.leaves:
            raise _Leaves
    if not done and not outcome.error:
        outcome.error = "stream_cut"
    for status in videos.values():
        outcome.videos[status] = outcome.videos.get(status, 0) + 1


def _code(text: str) -> str:
    """The word of an error's body."""
    try:
        return str(json.loads(text)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "error"


def session_of(key: str | None) -> aiohttp.ClientSession:
    """A session without a limit of connections: a load that waits for its own client is no load."""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=_LINE,
    )
