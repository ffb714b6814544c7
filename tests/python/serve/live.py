"""A server over an assistant without a model that listens, on a thread of the test's process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from g4v.serve import server
from g4v.serve.app import make_app
from g4v.serve.options import Options

from . import fake


@contextlib.contextmanager
def listening(folder: Path, **options: Any) -> Iterator[tuple[int, Any]]:
    """(port, the service's parts)"""
    app = make_app(fake.Assistant(), Options(media_dir=folder, drain=0.1, **options))  # type: ignore[arg-type]
    listener = server.listen("127.0.0.1", 0)
    running = server.make_server(app)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not running.started:
            time.sleep(0.002)
        yield listener.getsockname()[1], app.state.service
    finally:
        running.should_exit = True
        thread.join()


def send(port: int, data: bytes) -> socket.socket:
    """A connection on which this was sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(data)
    return connection


def post(path: str, body: bytes, kind: str = "application/json", length: int | None = None) -> bytes:
    """A request. length: that it announces, in place of the true one."""
    size = len(body) if length is None else length
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    )
    return head.encode() + body


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    data = b""
    with contextlib.suppress(ConnectionResetError):  # where it closes before it has read all
        while block := connection.recv(1 << 16):
            data += block
    connection.close()
    return data
