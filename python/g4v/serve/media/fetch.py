"""Fetches a video from a host that was allowed, from the very address that was checked."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin, urlsplit

import h11

from ..base.errors import ApiError, bad_request
from .addresses import is_domain, is_open_address, refusal

_REDIRECTS = 3
_SECONDS = 30.0
_AT_ONCE = 2

Resolve = Callable[[str], Awaitable[list[str]]]
"""All addresses of a host. OSError: it has none."""


class Fetcher:
    """Fetches from allowed hosts: HTTPS alone, no credentials, at most three redirects, each checked anew.

    allowed: exact host names; none allows nothing. limit: bytes of one file. A host is looked up once; all of
    its addresses must be of the open internet, and the first is dialled. resolve, is_open and context are for
    tests that have hosts of their own.
    """

    def __init__(
        self,
        allowed: tuple[str, ...],
        limit: int,
        seconds: float = _SECONDS,
        *,
        resolve: Resolve | None = None,
        is_open: Callable[[str], bool] = is_open_address,
        context: ssl.SSLContext | None = None,
        port: int = 443,
    ) -> None:
        self._allowed = frozenset(host.lower() for host in allowed)
        self._limit, self._seconds, self._port = limit, seconds, port
        self._resolve, self._is_open = resolve or _addresses, is_open
        self._context = context
        self._places = asyncio.Semaphore(_AT_ONCE)

    def check(self, url: str, where: str) -> None:
        """Refuses a URL that may not be fetched. ApiError (400)."""
        if not self._allowed and url[:6].lower() == "https:":
            reason = (
                "is on another server, and this one fetches nothing (--allowed-media-domain allows a host)"
            )
        else:
            reason = refusal(url, self._allowed)
        if reason:
            raise bad_request(f"{where}: the URL {reason}", where, "url_not_allowed")

    async def fetch(self, url: str, where: str) -> bytes:
        """The bytes at a URL. ApiError (400): not allowed, not there, too large, too slow."""
        try:
            async with self._places, asyncio.timeout(self._seconds):
                for _ in range(_REDIRECTS + 1):
                    self.check(url, where)
                    status, body, location = await self._get(url, where)
                    if status in (301, 302, 303, 307, 308) and location:
                        url = urljoin(url, location)
                    elif status == 200:
                        return body
                    else:
                        raise _failed(where, f"answered with the status {status}")
                raise _failed(where, f"redirects more than {_REDIRECTS} times")
        except TimeoutError:
            raise _failed(where, f"took longer than {self._seconds:.0f} seconds") from None
        except ssl.SSLError:
            raise _failed(where, "has no certificate that holds") from None
        except OSError:
            raise _failed(where, "cannot be reached") from None
        except h11.RemoteProtocolError:
            raise _failed(where, "does not speak HTTP/1.1") from None

    async def _get(self, url: str, where: str) -> tuple[int, bytes, str | None]:
        """Status, body and Location of one request; no body but that of 200."""
        parts = urlsplit(url)
        host = str(parts.hostname)
        addresses = await self._resolve(host)
        if not addresses or not all(map(self._is_open, addresses)):
            raise bad_request(f"{where}: {host} has an address inside a network", where, "url_not_allowed")
        if self._context is None:
            self._context = ssl.create_default_context()
        reader, writer = await asyncio.open_connection(
            addresses[0], self._port, ssl=self._context, server_hostname=host, limit=1 << 16
        )
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = [
                ("Host", host),
                ("User-Agent", "g4v"),
                ("Accept", "video/*, image/*"),
                ("Connection", "close"),
            ]
            connection = h11.Connection(h11.CLIENT)
            request = h11.Request(method="GET", target=target, headers=headers)
            writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
            return await self._response(connection, reader, where)
        finally:
            writer.close()

    async def _response(
        self, connection: h11.Connection, reader: asyncio.StreamReader, where: str
    ) -> tuple[int, bytes, str | None]:
        status, location, body = 0, None, bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(1 << 16))
            elif isinstance(event, h11.Response):
                fields = {name: value.decode("latin-1") for name, value in event.headers}
                status, location = event.status_code, fields.get(b"location")
                if status != 200:
                    return status, b"", location
                if fields.get(b"content-encoding", "identity") != "identity":
                    raise _failed(where, "sends a compressed body")
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._limit:
                    raise ApiError(
                        413, f"{where}: the URL has more than {self._limit} bytes", "too_large", where
                    )
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                return status, bytes(body), location


def _failed(where: str, reason: str) -> ApiError:
    return bad_request(f"{where}: the URL {reason}", where, "url_failed")


_lookups = ThreadPoolExecutor(1, "g4v-lookup")  # its thread begins with the first lookup


async def _addresses(host: str) -> list[str]:
    def look_up() -> list[str]:
        found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
        return [str(address[0]) for *_, address in found]

    return await asyncio.get_running_loop().run_in_executor(_lookups, look_up)


__all__ = ["Fetcher", "is_domain"]
