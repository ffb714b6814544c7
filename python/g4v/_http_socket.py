"""Sockets for http.client that end in time, and when another thread says so.

http.client alone bounds each read, not the whole, and a thread that is in it cannot be woken: these sockets
wait in slices.
"""

from __future__ import annotations

import io
import os
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ._http_address import Address, is_loopback
from .errors import Cancelled

T = TypeVar("T")

_SLICE = 0.02  # seconds between two looks whether to stop
_BLOCK = 1 << 16


class HttpFault(Exception):
    """There was no whole answer. lost: the connection, so that the same request may succeed later."""

    def __init__(self, message: str, lost: bool = False) -> None:
        super().__init__(message)
        self.lost = lost


class TooLarge(HttpFault):
    """The answer has more bytes than are taken."""


@dataclass(frozen=True)
class Patience:
    """How long a request may take: until a time of `time.monotonic`, or until `stopped` returns True."""

    until: float
    stopped: Callable[[], bool] = field(default=lambda: False)

    def check(self) -> None:
        """Raises `Cancelled` where it is to stop, `HttpFault` where its time is over."""
        if self.stopped():
            raise Cancelled("cancelled")
        if time.monotonic() > self.until:
            raise HttpFault("takes too long")

    def wait_for(self, sock: socket.socket, event: int) -> None:
        """Waits until the socket can be read or written. Raises as `check`."""
        with selectors.DefaultSelector() as selector:
            selector.register(sock, event)
            while not selector.select(_SLICE):
                self.check()


def dial(address: Address, patience: Patience, context: ssl.SSLContext | None) -> socket.socket:
    """A connected socket that does not block. Raises `OSError`, `HttpFault` or `Cancelled`."""
    patience.check()
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    if address.only_loopback and not all(is_loopback(str(place[0])) for *_, place in found):
        raise HttpFault("is named without encryption, and is not on this machine")
    fault: OSError = OSError("the host has no address")
    for family, kind, protocol, _, place in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _connect(sock, place, patience)
            return _encrypted(sock, address, patience, context) if address.secure else sock
        except OSError as error:
            sock.close()
            if isinstance(error, ssl.SSLError):
                raise
            fault = error
        except BaseException:
            sock.close()
            raise
    raise fault


def _connect(sock: socket.socket, place: Any, patience: Patience) -> None:
    try:
        sock.connect(place)
    except BlockingIOError:
        patience.wait_for(sock, selectors.EVENT_WRITE)
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code)) from None


def _encrypted(
    sock: socket.socket, address: Address, patience: Patience, context: ssl.SSLContext | None
) -> ssl.SSLSocket:
    trusted = context or ssl.create_default_context()
    secure = trusted.wrap_socket(sock, server_hostname=address.host, do_handshake_on_connect=False)
    try:
        _wait_through(secure.do_handshake, secure, selectors.EVENT_READ, patience)
    except BaseException:
        secure.close()
        raise
    return secure


def _wait_through(call: Callable[[], T], sock: socket.socket, event: int, patience: Patience) -> T:
    """The result of a call that does not block, repeated each time when the socket may have it succeed."""
    while True:
        try:
            return call()
        except ssl.SSLWantReadError:
            wanted = selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            wanted = selectors.EVENT_WRITE
        except BlockingIOError:
            wanted = event
        patience.wait_for(sock, wanted)
        patience.check()  # also where a server sends a byte now and then


class Socket:
    """What http.client needs of a socket, over one that does not block. patience: of the request."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock, self.patience = sock, patience
        self._readers, self._closed = 0, False

    def sendall(self, data: bytes) -> None:
        """Sends all of it."""
        rest = memoryview(data)
        while rest:
            part = rest[:_BLOCK]
            sent = _wait_through(
                lambda part=part: self._sock.send(part),  # type: ignore[misc]
                self._sock,
                selectors.EVENT_WRITE,
                self.patience,
            )
            rest = rest[sent:]

    def receive_into(self, buffer: Any) -> int:
        """Number of bytes that came; 0 at the end."""
        return _wait_through(
            lambda: self._sock.recv_into(buffer), self._sock, selectors.EVENT_READ, self.patience
        )

    def makefile(self, mode: str) -> io.BufferedReader:
        """A file to read the answer from; the socket stays open as long as it."""
        self._readers += 1
        return io.BufferedReader(_Reader(self), _BLOCK)

    def reader_closed(self) -> None:
        """One of the files was closed."""
        self._readers -= 1
        self._close_unused()

    def close(self) -> None:
        """Closes the socket as soon as no file of it is open."""
        self._closed = True
        self._close_unused()

    def _close_unused(self) -> None:
        if self._closed and self._readers == 0:
            self._sock.close()


class _Reader(io.RawIOBase):
    def __init__(self, sock: Socket) -> None:
        self._socket = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._socket.receive_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._socket.reader_closed()
