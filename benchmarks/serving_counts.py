"""Does `g4v serve` lose a place where clients leave, or where many come at once?

    python benchmarks/serving_counts.py [--bundle tiny] [--disconnects 1000] [--crowds 5] [--json FILE]

Clients leave in three ways, in turn: in the middle of a stream, in the middle of an answer that is no stream,
and while a video is made. Timed: from closing the connection until /metrics says that nothing runs (looked at
every few milliseconds, which is in the figure). A place counts as free in time within 50 ms; that
of a video within one denoising step, where that takes longer. Then 200 clients ask at once, `--crowds` times:
what they are answered, and the most threads that the server had. The last line is JSON. Exit code 1: a place
was lost.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from g4v._console import machine
from g4v._files import write_json
from g4v.serve.bench.server_metrics import Samples, mean, parse

CROWD = 200
IN_TIME = 0.05
RUNNING = ("g4v_requests_running", "g4v_requests_waiting", "g4v_videos_queued")
TALK = {"messages": [{"role": "user", "content": "What can you do?"}], "modalities": ["text"]}
# So hot that the model hardly ever ends: an answer of seconds.
LONG = TALK | {"temperature": 30, "max_tokens": 900}
SHOW = {"messages": [{"role": "user", "content": "Show me a red circle moving left"}]}
WAYS: dict[str, dict[str, Any]] = {
    "stream": LONG | {"stream": True},
    "whole": LONG | {"stream": False},
    "video": SHOW | {"stream": True, "num_inference_steps": 900},
}


class Server:
    """A server in a process of its own, with a connection to look at it."""

    def __init__(self, bundle: str, folder: str) -> None:
        command = [sys.executable, "-m", "g4v", "serve", "--port", "0", "--media-dir", folder]
        command += ["--bundle", bundle, "--threads", "1", "--max-running", "2"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().split(":")[2].split(" ")[0])
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port)
        while self.get("/ready")[0] != 200:
            time.sleep(0.01)

    def get(self, path: str) -> tuple[int, bytes]:
        for last in (False, True):  # the server closes a connection that says nothing for some seconds
            try:
                self._connection.request("GET", path)
                response = self._connection.getresponse()
                return response.status, response.read()
            except http.client.RemoteDisconnected:
                self._connection.close()
                if last or self.process.poll() is not None:
                    raise
        raise AssertionError

    def metrics(self) -> Samples:
        return parse(self.get("/metrics")[1].decode())

    def busy(self) -> int:
        """Answers that run or wait, and videos that are made or wait."""
        samples = self.metrics()
        videos = json.loads(self.get("/v1/videos?limit=100")[1])["data"]
        making = sum(video["status"] == "in_progress" for video in videos)
        return int(sum(samples[name, ""] for name in RUNNING)) + making

    def send(self, body: dict[str, Any]) -> socket.socket:
        data = json.dumps(body).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        return connection


def leave(server: Server, way: str) -> float | None:
    """Seconds until all is free after a client has left; None: it was done before."""
    connection = server.send(WAYS[way])
    if way == "whole":
        while server.metrics()["g4v_requests_running", ""] == 0:
            time.sleep(0.001)
    else:
        seen = b""
        wanted = b'"in_progress"' if way == "video" else b'"content":"'
        while seen.count(wanted) < 2 and b"[DONE]" not in seen and (block := connection.recv(1 << 16)):
            seen += block
        if b"[DONE]" in seen:
            connection.close()
            return None
    connection.close()
    began = time.perf_counter()
    while server.busy():
        if time.perf_counter() - began > 30:
            return 30.0
    return time.perf_counter() - began


def crowd(server: Server) -> tuple[Counter[int], int]:
    """What 200 at once are answered, and the most threads of the server."""
    found: list[int] = []
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            most[0] = max(most[0], len(os.listdir(f"/proc/{server.process.pid}/task")))

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(TALK), {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        response.read()
        found.append(response.status)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(CROWD)]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    return Counter(found), most[0]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--disconnects", type=int, default=1000)
    parser.add_argument("--crowds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    answers: Counter[int] = Counter()
    threads = 0
    with tempfile.TemporaryDirectory() as folder:
        server = Server(arguments.bundle, folder)
        try:
            before = server.metrics()
            number = 0
            while sum(map(len, times.values())) < arguments.disconnects:
                way = list(WAYS)[number % len(WAYS)]
                number += 1
                if (spent := leave(server, way)) is not None:
                    times[way].append(spent)
            step = mean(before, server.metrics(), "g4v_video_step_seconds") or 0.0
            for _ in range(arguments.crowds):
                found, most = crowd(server)
                answers += found
                threads = max(threads, most)
            lost = server.busy()
        finally:
            server.process.terminate()
            server.process.wait()
    limits = {way: max(IN_TIME, step) if way == "video" else IN_TIME for way in WAYS}
    late = sum(spent > limits[way] for way, row in times.items() for spent in row)
    summary: dict[str, Any] = {
        "bundle": arguments.bundle,
        "disconnects": sum(map(len, times.values())),
        "in_time": sum(map(len, times.values())) - late,
        "limit_ms": {way: round(1e3 * limit, 1) for way, limit in limits.items()},
        "step_ms": round(1e3 * step, 1),
        "free_ms": {
            way: {
                "count": len(row),
                "within_50_ms": sum(spent <= IN_TIME for spent in row),
                "p50": round(1e3 * statistics.median(row), 1),
                "p99": round(1e3 * sorted(row)[int(0.99 * (len(row) - 1))], 1),
                "max": round(1e3 * max(row), 1),
            }
            for way, row in times.items()
            if row
        },
        "slots_lost": lost,
        "crowds": arguments.crowds,
        "answers_of_crowds": dict(sorted(answers.items())),
        "most_threads": threads,
    }
    for name, value in summary.items():
        print(f"{name:22} {value}")
    summary |= {"machine": machine()}
    if arguments.json:
        write_json(arguments.json, summary)
    print(json.dumps(summary))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
