"""One server that is asked over HTTP/1.1, with the standard library alone.

A request is bounded in time and bytes, and ends when another thread says so. Redirects to another host are
not followed, and proxies of the environment are not used.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from ._http_address import Address
from ._http_socket import HttpFault, Patience, Socket, TooLarge, dial

_BLOCK = 1 << 16
_REDIRECTS = 3


@dataclass(frozen=True)
class Answer:
    """status: of HTTP. headers: names in lower case. body: all of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """Requests to one server, one after the other, from one thread. headers: of each request.

    context: of TLS; None for the system's certificates.
    """

    def __init__(
        self, address: Address, headers: Mapping[str, str], context: ssl.SSLContext | None = None
    ) -> None:
        self._address, self._headers, self._context = address, dict(headers), context
        self._client: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Closes what is open."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def ask(
        self,
        method: str,
        path: str,
        patience: Patience,
        most: int,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to a request. most: bytes of its body.

        A redirect of a GET to the same host is followed. Raises `Cancelled`, or `HttpFault` whose words go on
        from the server's name.
        """
        for _ in range(_REDIRECTS + 1):
            answer = self._ask(method, path, patience, most, body, headers or {})
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return answer
            path = self._redirected(method, path, location)
        raise HttpFault(f"redirects more than {_REDIRECTS} times")

    def _redirected(self, method: str, path: str, location: str) -> str:
        """The path on this host that a redirect leads to. Raises `HttpFault`."""
        try:
            target = urljoin(self._address.origin + path, location)
            parts = urlsplit(target)
        except ValueError:
            raise HttpFault("redirects to what is no URL") from None
        if method != "GET" or not self._address.is_origin_of(target):
            raise HttpFault("redirects to another address, which is not followed; name that one")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if not path.isascii() or not path.isprintable() or " " in path:
            raise HttpFault("redirects to what is no URL")
        return path

    def _ask(
        self,
        method: str,
        path: str,
        patience: Patience,
        most: int,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Answer:
        reused = self._client is not None
        try:
            return self._exchange(method, path, patience, most, body, headers)
        except HttpFault as fault:
            # A connection that was kept may have been closed meanwhile.
            if not (reused and fault.lost) or method == "POST":
                raise
        return self._exchange(method, path, patience, most, body, headers)

    def _exchange(
        self,
        method: str,
        path: str,
        patience: Patience,
        most: int,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Answer:
        kept = False
        try:
            if self._client is None:
                client = http.client.HTTPConnection(self._address.host, self._address.port)
                client.default_port = 443 if self._address.secure else 80  # the others are in Host
                client.auto_open = 0  # it would open one that blocks
                client.sock = Socket(dial(self._address, patience, self._context), patience)  # type: ignore[assignment]
                self._client = client
            client = self._client
            client.sock.patience = patience  # type: ignore[union-attr]
            given = {"Accept-Encoding": "identity"} | self._headers | dict(headers)
            client.request(method, path, body, given)
            response = client.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            if found.get("content-encoding", "identity") != "identity":
                raise HttpFault("sends a compressed body, which nobody asked for")
            answer = Answer(response.status, found, _body(response, most))
            kept = not response.will_close
            return answer
        except ssl.SSLError as error:
            raise HttpFault(f"has no certificate that holds, or no TLS ({_reason(error)})") from None
        except ConnectionRefusedError as error:
            raise HttpFault(f"cannot be reached: {_reason(error)}", lost=True) from None
        except (ConnectionError, http.client.IncompleteRead):  # RemoteDisconnected is one of the first
            raise HttpFault("closed the connection before it had answered", lost=True) from None
        except http.client.HTTPException as error:
            raise HttpFault(f"does not speak HTTP/1.1 ({type(error).__name__})") from None
        except OSError as error:
            raise HttpFault(f"cannot be reached: {_reason(error)}", lost=True) from None
        finally:
            if not kept:
                self.close()


def _body(response: http.client.HTTPResponse, most: int) -> bytes:
    declared = response.length
    if declared is not None and declared > most:
        raise TooLarge(f"sends {declared} bytes, and at most {most} are taken")
    body = bytearray()
    while block := response.read(_BLOCK):
        body += block
        if len(body) > most:
            raise TooLarge(f"sends more than {most} bytes, which are not taken")
    if declared is not None and len(body) < declared:
        raise HttpFault("closed the connection in the middle of its answer", lost=True)
    return bytes(body)


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
