"""A stand-in for another server's /v1/videos, on a thread of the test's process, with a fault where asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from g4v._encode import encode_video

SHAPE = (6, 32, 48, 3)
FPS = 12.0


def clip(level: int = 90, shape: tuple[int, ...] = SHAPE) -> bytes:
    """An mp4 of frames that are all of this brightness."""
    return encode_video(np.full(shape, level, np.uint8), FPS, ".mp4")


class VideosServer:
    """requests: (method, path) of all that came. forms: fields of the videos that were asked for.

    deleted: ids of videos. steps: looks at a job until it is completed. video: the file. done: what is told
    of a job that is done. answers: what is answered to (method, end of the path) in place of the usual:
    (status, body) or (status, body, headers), or a function of the handler that answers itself.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.forms: list[dict[str, str]] = []
        self.deleted: list[str] = []
        self.answers: dict[tuple[str, str], Any] = {}
        self.steps = 3
        self.video = clip()
        self.done: dict[str, Any] = {"status": "completed", "progress": 100}
        self.looks: dict[str, int] = {}
        self.changed = threading.Condition()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _any(self) -> None:
                server.handle(self)

            do_GET = do_POST = do_DELETE = _any

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1/videos"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self.changed:
            self.requests.append((handler.command, handler.path))
            self.headers.append(dict(handler.headers.items()))
            if handler.command == "POST":
                self.forms.append(form_of(handler.headers["Content-Type"], body))
            if handler.command == "DELETE":
                self.deleted.append(handler.path.rpartition("/")[2])
            self.changed.notify_all()
        place = "content" if handler.path.endswith("/content") else ""
        given = self.answers.get((handler.command, place))
        if callable(given):
            given(handler)
            return
        send(handler, *(given or self.usual(handler)))

    def usual(self, handler: BaseHTTPRequestHandler) -> tuple[Any, ...]:
        """What a server without a fault answers."""
        if handler.command == "POST":
            with self.changed:
                identifier = f"video_{len(self.looks)}"
                self.looks[identifier] = 0
            return 200, {"id": identifier, "object": "video", "status": "queued", "progress": 0}
        identifier = handler.path.split("/")[3]
        if handler.command == "DELETE":
            return 200, {"id": identifier, "object": "video.deleted", "deleted": True}
        if handler.path.endswith("/content"):
            return 200, self.video, {"Content-Type": "video/mp4"}
        self.looks[identifier] += 1
        if self.looks[identifier] >= self.steps:
            return 200, {"id": identifier, **self.done}
        progress = 100 * self.looks[identifier] // self.steps
        return 200, {"id": identifier, "status": "in_progress", "progress": progress}

    def wait_until(self, condition: Callable[[], bool], seconds: float = 20) -> bool:
        """Whether a condition on what came holds in time."""
        with self.changed:
            return self.changed.wait_for(condition, seconds)


def send(
    handler: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None
) -> None:
    """Answers a request. body: bytes, or values of JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Closes the connection without an answer."""
    handler.close_connection = True


def stall(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answers nothing for so long, then hangs up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        hang_up(handler)

    return answer


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then, for ever."""
    handler.close_connection = True
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    try:
        for _ in range(3000):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.02)
    except OSError:
        pass


def form_of(kind: str, body: bytes) -> dict[str, str]:
    """The fields of a multipart form."""
    message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True).decode()
        for part in message.get_payload()
    }


@contextmanager
def videos_server() -> Iterator[VideosServer]:
    server = VideosServer()
    server.thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.thread.join()
        server.http.server_close()
