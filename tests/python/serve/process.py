"""`g4v serve` as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Server:
    """Use as a context manager; `lines` are those of its log so far."""

    def __init__(self, folder: Path, *options: str, key: str = "") -> None:
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._log = folder / "log"
        self._options = ["--media-dir", str(folder / "media"), *options]

    def __enter__(self) -> Server:
        command = [sys.executable, "-m", "g4v", "serve", "--port", "0", *self._options]
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), (line, self.log)
        self.port = int(line.split(":")[2].split(" ")[0])
        self.url = f"http://127.0.0.1:{self.port}"
        until(lambda: self.get("/ready")[0] == 200)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8")

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]

    def request(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        """The response of a connection of its own; close it by closing the response's socket."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = None if body is None else json.dumps(body)
        kind = {"Content-Type": "application/json"} if data else {}
        connection.request(method, path, data, self._headers | kind)
        response = connection.getresponse()
        response.connection = connection  # type: ignore[attr-defined]
        return response

    def get(self, path: str) -> tuple[int, Any]:
        response = self.request("GET", path)
        return response.status, json.loads(response.read())

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        response = self.request("POST", path, body)
        return response.status, json.loads(response.read())

    def ask(self, text: str, **fields: Any) -> tuple[int, Any]:
        return self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **fields})

    def metric(self, name: str) -> float:
        text = self.request("GET", "/metrics").read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    @property
    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        return self.process.wait(seconds)


def until(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)
