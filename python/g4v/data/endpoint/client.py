"""One OpenAI-compatible endpoint: bounded requests, retries, a budget. Nothing is sent before `post`."""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from g4v.data.endpoint.arguments import check_base_url
from g4v.data.endpoint.budget import Budget
from g4v.errors import Error, RuntimeUnavailable

if TYPE_CHECKING:
    import aiohttp

_LARGEST = 8 << 20  # bytes of a response
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
_FATAL = {401, 402, 403, 404, 405}  # no other request will fare better


class EndpointError(Error):
    """The endpoint refuses every request: a wrong key, model or address."""

    code = 4


class Stopped(Exception):
    """The run is to stop; nothing was sent."""


class RequestFailed(Exception):
    """This request got no answer within its tries; others may get one."""


@dataclass(frozen=True)
class Limits:
    """Time limits and retries of requests."""

    timeout: float = 120.0  # seconds for one try, connecting and reading included
    retries: int = 6  # tries after the first
    backoff: float = 1.0  # seconds of the first wait; it doubles
    longest_wait: float = 120.0  # seconds; a server that asks for more is not waited for


class Endpoint:
    """A client of one endpoint, as an async context manager around one HTTP session.

    on_failure: called with the reason of every failed try. Setting `stop` ends all waiting requests.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None,
        limits: Limits,
        budget: Budget,
        on_failure: Callable[[str], None],
    ) -> None:
        self.budget = budget
        self.stop = asyncio.Event()
        self._url, self._key, self._limits, self._on_failure = (
            check_base_url(base_url),
            key,
            limits,
            on_failure,
        )
        self._session: aiohttp.ClientSession | None = None
        self._open_at = 0.0  # monotonic time before which the server asked us not to come back

    async def __aenter__(self) -> Endpoint:
        # aiohttp and not the `openai` package or httpx: two plain POSTs are all there is, with our own
        # retries and journal; its total time limit also ends a server that trickles; Lightning brings it.
        try:
            import aiohttp
        except ImportError:
            raise RuntimeUnavailable("aiohttp is missing; install it with: pip install aiohttp") from None
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(
            headers=headers, timeout=aiohttp.ClientTimeout(total=self._limits.timeout), trust_env=True
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def hide_key(self, text: str) -> str:
        """The text without the key, which a server may echo."""
        return text.replace(self._key, "[key]") if self._key else text

    async def post(
        self, path: str, body: dict[str, Any], most_tokens: int
    ) -> tuple[dict[str, Any] | None, int]:
        """The JSON object that the server answered (None if it was none) and the tokens it used.

        most_tokens: what the request may use at most, by our own estimate; it also stands for the usage
        where an answer came without one.
        Raises Stopped, BudgetSpent, RequestFailed or EndpointError.
        """
        for attempt in range(self._limits.retries + 1):
            await self._wait(self._open_at - time.monotonic())
            await self.budget.reserve(most_tokens)
            used, pause = 0, None
            try:
                status, headers, raw = await self._send(path, body)
                if status == 200:
                    payload = _parse(self.hide_key(raw.decode("utf-8", "replace")))
                    used = usage_of(payload)[2] if payload else most_tokens
                    return payload, used
                reason = f"HTTP {status}"
                detail = self.hide_key(_message(raw))
                if status in _FATAL:
                    self._on_failure(reason)
                    raise EndpointError(
                        f"the endpoint answers {reason} for model {body.get('model')!r}: {detail}"
                    )
                if status not in _RETRIED:
                    self._on_failure(reason)
                    raise RequestFailed(f"{reason}: {detail}")
                pause = _retry_after(headers.get("Retry-After"))
            except TimeoutError:
                reason = "time limit"
            except _Broken as error:
                reason = self.hide_key(str(error))
            finally:
                await self.budget.settle(most_tokens, used)
            self._on_failure(reason)
            if attempt == self._limits.retries:
                break
            if pause is not None and pause > self._limits.longest_wait:
                raise RequestFailed(f"{reason}; the server asks to wait {pause:.0f} s")
            # Half to the whole of a doubling wait: spread out, never at once.
            wait = min(self._limits.longest_wait, self._limits.backoff * 2**attempt) * random.uniform(0.5, 1)
            if pause is not None:
                self._open_at = max(self._open_at, time.monotonic() + pause)  # holds for all requests
                wait = max(wait, pause)
            await self._wait(wait)
        raise RequestFailed(f"{reason}, {self._limits.retries + 1} times")

    async def _wait(self, seconds: float) -> None:
        if seconds > 0:
            try:
                await asyncio.wait_for(self.stop.wait(), seconds)
            except TimeoutError:
                pass
        if self.stop.is_set():
            raise Stopped

    async def _send(self, path: str, body: dict[str, Any]) -> tuple[int, Any, bytes]:
        import aiohttp

        assert self._session is not None
        try:
            # A redirect would carry the key and the prompts to another address.
            async with self._session.post(self._url + path, json=body, allow_redirects=False) as response:
                raw = bytearray()
                async for piece in response.content.iter_chunked(1 << 16):
                    raw += piece
                    if len(raw) > _LARGEST:
                        raise _Broken("a response above 8 MiB")
                return response.status, response.headers, bytes(raw)
        except TimeoutError:
            raise
        except aiohttp.ClientPayloadError:
            raise _Broken("the connection broke in the response") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _Broken(f"no connection ({type(error).__name__})") from None


class _Broken(Exception):
    """The connection or the response broke."""


def _parse(text: str) -> dict[str, Any] | None:
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


def usage_of(payload: dict[str, Any]) -> tuple[int, int, int]:
    """(prompt, completion, total) tokens as the server reports them; zeros where it does not."""
    usage = payload.get("usage")
    usage = usage if isinstance(usage, dict) else {}

    def number(name: str) -> int:
        value = usage.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

    prompt, completion = number("prompt_tokens"), number("completion_tokens")
    return prompt, completion, max(number("total_tokens"), prompt + completion)


def _message(raw: bytes) -> str:
    payload = _parse(raw.decode("utf-8", "replace"))
    error = payload.get("error") if payload else None
    text = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(text or "no reason given").split())[:200]


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header: a number or a date; None without one that makes sense."""
    if not value:
        return None
    try:
        return min(max(0.0, float(value)), 1e9)
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
