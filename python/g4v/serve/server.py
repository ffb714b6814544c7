"""Listens, serves, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import ArgumentError
from .app import make_app
from .base.auth import is_loopback
from .base.logs import handle_library_logs, log
from .options import Options
from .service import Parts, Service

if TYPE_CHECKING:
    from ..assistant import Assistant

_HEADER_SECONDS = 30.0
_END_SECONDS = 5.0  # that answers have to tell their clients that the server ends


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. ArgumentError: the address is in use, or is none of this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ArgumentError(f"cannot listen on {host} port {port}: {error.strerror}; name another") from None
    return listener


def check_open(host: str, key_file: Any, no_auth: bool) -> None:
    """Refuses to let everybody of a network in unasked. ArgumentError."""
    if key_file is None and not no_auth and not is_loopback(host):
        raise ArgumentError(
            f"--host {host} can be reached from other machines: name keys with --api-key-file, or let "
            "everybody in with --no-auth"
        )


def serve(assistant: Callable[[], Assistant], host: str, listener: socket.socket, options: Options) -> int:
    """Serves until a signal comes; returns 0 after SIGTERM, 130 after Ctrl-C.

    assistant: loads it. Raises what loading raises, and ArgumentError or OutputError of options.
    """
    with contextlib.closing(listener):
        parts = Parts(options)
        app = make_app(assistant(), options, parts)
        service: Service = app.state.service
        handle_library_logs()
        server = make_server(app)
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        print(
            f"listening on http://{shown}:{port} ({service.model} on {service.assistant.device})", flush=True
        )
        server.run(sockets=[listener])
        return 130 if server.interrupted else 0


def make_server(app: Starlette) -> Server:
    """The server of an application of `make_app`; `run(sockets=[...])` serves until it is told to end."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(_END_SECONDS),
    )
    return Server(config, app.state.service)


class Server(uvicorn.Server):
    """Ends at the first signal when all is done, or after --drain seconds; at the second one at once."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self.interrupted = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        # As uvicorn's, but that the signals are not raised again at the end: the exit code is ours.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        self.interrupted |= sig == signal.SIGINT
        if self.should_exit:
            self.force_exit = True
        self.should_exit = self._service.draining = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends in order."""
        log("shutdown", answers=len(self._service.answers), videos=self._service.jobs.unfinished)
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        drain = asyncio.ensure_future(self._service.drain(self._service.options.drain))
        while not drain.done():
            await asyncio.wait((drain,), timeout=0.05)
            if self.force_exit and not drain.done():
                drain.cancel()
                await asyncio.wait((drain,))
                await self._service.drain(0)
                break
        await super().shutdown(None)
        if self.force_exit:  # uvicorn leaves this out then
            await self.lifespan.shutdown()


class _Protocol(HttpToolsProtocol):
    """A connection that is closed where the head of a request does not come in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._wait_for_head()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(_HEADER_SECONDS, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self.transport.close()
